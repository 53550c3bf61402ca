package credential

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"mtls.egress/webhook/internal/certs/pfx"
)

// Bundle is a private key and the certificates that came with it, in any order.
type Bundle struct {
	PrivateKey   crypto.Signer
	Certificates []*x509.Certificate
}

// ReadPKCS12 opens a PKCS#12 file (RFC 7292; .p12, .pfx) with its password, which may be empty. Old
// files (RC2, 3DES, a MAC with SHA-1) and modern ones (AES, PBKDF2, a MAC with SHA-256, PBMAC1) are
// read, in DER and, but for PBMAC1, in the BER that NSS writes. The file must hold one private key
// and a certificate. Friendly names and other attributes are dropped. The errors say what to do;
// none holds a byte of the content or of the password.
func ReadPKCS12(content []byte, password string) (Bundle, error) {
	der, err := checkPKCS12(content)
	if err != nil {
		return Bundle{}, err
	}
	der, err = pfx.Rewrite(der, password)
	if err != nil {
		return Bundle{}, explainPKCS12(der, err, password)
	}
	if err := checkIterations(pfx.ContentIterations(der)); err != nil {
		return Bundle{}, err
	}
	key, leaf, others, err := pkcs12.DecodeChain(der, password)
	if err != nil {
		return Bundle{}, explainPKCS12(der, err, password)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return Bundle{}, errors.New("its private key cannot sign, it is for key agreement only: a TLS client needs an RSA or ECDSA key")
	}
	return Bundle{PrivateKey: signer, Certificates: append([]*x509.Certificate{leaf}, others...)}, nil
}

// IsPKCS12 reports whether content begins as a PKCS#12 file, in DER or in BER.
func IsPKCS12(content []byte) bool {
	return isPKCS12(content) || isIndefinite(content)
}

// isIndefinite reports whether content begins as a PFX of indefinite length, which BER allows and
// DER doesn't (X.690 §8.1.3.6).
func isIndefinite(content []byte) bool {
	return bytes.HasPrefix(content, []byte{0x30, 0x80, 0x02, 0x01, 0x03})
}

// checkPKCS12 finds what is wrong with the outside of the file, for which the decoder has the words
// of ASN.1 only, and returns it in DER. What it can't bring to DER is returned as it is, for the
// decoder to refuse.
func checkPKCS12(content []byte) ([]byte, error) {
	switch {
	case len(content) == 0:
		return nil, errors.New("the file is empty")
	case len(content) > MaxPartSize:
		return nil, fmt.Errorf("the file has %d bytes: more than %d are not read", len(content), MaxPartSize)
	case !IsPKCS12(content):
		return nil, errors.New("the file is not PKCS#12: " + notPKCS12(content))
	}
	der, behind, err := pfx.ToDER(content)
	if err != nil {
		der = content
	}
	end := len(content) - len(behind)
	if isPKCS12(content) {
		end = derLength(content)
	}
	switch {
	case len(content) < end:
		return nil, fmt.Errorf("the file is truncated: it has %d of the %d bytes that it begins to tell; fetch it again, in binary mode", len(content), end)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("the file is truncated: its %d bytes stop within what it begins to tell; fetch it again, in binary mode", len(content))
	case len(content) > end:
		return nil, fmt.Errorf("the file has %d bytes behind its end: it was changed on its way; fetch it again, in binary mode", len(content)-end)
	}
	return der, checkIterations(pfx.Iterations(der))
}

// maxIterations is far above what any tool writes (at most some hundred thousand) and takes
// seconds.
const maxIterations = 5_000_000

func checkIterations(rounds int) error {
	if rounds > maxIterations {
		return fmt.Errorf("the file asks for %d rounds of key derivation, which would take minutes; more than %d are not tried", rounds, maxIterations)
	}
	return nil
}

// notPKCS12 tells what else a file is that should be PKCS#12. It never quotes the file.
func notPKCS12(content []byte) string {
	if decoded, ok := decodeBase64(content); ok && IsPKCS12(decoded) {
		return "it looks like PKCS#12 in base64; decode it (base64 -d)"
	}
	switch {
	case bytes.HasPrefix(content, []byte("\xfe\xed\xfe\xed")):
		return "it looks like a Java key store; convert it (keytool -importkeystore -srckeystore FILE -destkeystore new.p12 -deststoretype PKCS12)"
	case countBegin(content) > 0:
		return "it looks like PEM; join the key and the signed certificate with credential complete"
	case isDER(content):
		return "it looks like DER of another kind, for example a certificate without its key"
	case bytes.HasPrefix(bytes.TrimSpace(content), []byte("{")):
		return "it looks like JSON; an exported destination of SAP BTP is read with --btp-destination"
	default:
		return "a .p12 or .pfx file is binary and begins with a SEQUENCE that holds the version 3"
	}
}

// derLength is the length that the header of a DER value of the long form tells, the header among
// it (X.690 §8.1.3.5).
func derLength(value []byte) int {
	header := 2 + int(value[1]&0x7f)
	if len(value) < header {
		return header
	}
	var length [8]byte
	copy(length[8-(header-2):], value[2:header])
	return header + int(binary.BigEndian.Uint64(length[:])) //nolint:gosec // At most three bytes of length: isDER.
}

// explainPKCS12 says for a person what the decoder means. It has values for a few of its errors
// only; the texts of the others are those of the version in go.mod, and a test has each of them.
func explainPKCS12(content []byte, err error, password string) error {
	var unsupported pkcs12.NotImplementedError
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword) && password == "":
		return errors.New("the file has a password, and none was given")
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, pkcs12.ErrDecryption):
		return errors.New("the password is wrong")
	case errors.As(err, &unsupported):
		return fmt.Errorf("the file is PKCS#12, but of a kind that is not read: %s", Printable(unsupported.Error()))
	}
	switch err.Error() {
	case "pkcs12: expected exactly one key bag":
		return errors.New("the file holds several private keys: export the one that is meant into a file of its own (keytool -importkeystore -srcalias NAME …)")
	case "pkcs12: private key missing":
		return errors.New("the file holds certificates but no private key: it is a trust store, or was exported without the key; export it with the key")
	case "pkcs12: certificate missing":
		return errors.New(withoutCertificate(content, password))
	case "pkcs12: no MAC in data":
		return errors.New("the file has no password (no MAC): give none")
	case "pkcs12: string contains characters that cannot be encoded in UCS-2":
		return errors.New("the password has characters that no PKCS#12 password has (beyond Unicode's first plane)")
	}
	return errors.New("the file is damaged inside, though as long as it should be; fetch it again, in binary mode")
}

func withoutCertificate(content []byte, password string) string {
	// A trust store has nothing but certificates, and this file has none, so it is empty.
	if _, err := pkcs12.DecodeTrustStore(content, password); err == nil {
		return "the file holds neither a private key nor a certificate"
	}
	return "the file holds a private key but no certificate: ask for a file with both, or join key and certificate with credential complete"
}
