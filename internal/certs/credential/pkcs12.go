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

// Bundle is a private key with certificates, in any order.
type Bundle struct {
	PrivateKey   crypto.Signer
	Certificates []*x509.Certificate
	// Skipped are warnings about certificates that can't be read.
	Skipped []Finding
}

// ReadPKCS12 decodes a PKCS#12 file (RFC 7292; .p12, .pfx) with its password, which can be empty.
// It supports old files (RC2, 3DES, a MAC with SHA-1) and modern ones (AES, PBKDF2, a MAC with
// SHA-256, PBMAC1). The encoding is DER or, except for PBMAC1, the BER that NSS writes. The file
// must contain one private key and at least one certificate. Friendly names and other attributes
// are dropped. Errors contain a fix, and no byte of the content or the password.
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
		return Bundle{}, errors.New(
			"its private key cannot sign, it is for key agreement only: a TLS client needs an RSA or ECDSA key")
	}
	return Bundle{PrivateKey: signer, Certificates: append([]*x509.Certificate{leaf}, others...)}, nil
}

// IsPKCS12 reports whether content begins like a PKCS#12 file, in DER or BER.
func IsPKCS12(content []byte) bool {
	return isPKCS12(content) || isIndefinite(content)
}

// isIndefinite reports whether content begins like a PFX of indefinite length, which BER allows but
// DER doesn't (X.690 §8.1.3.6).
func isIndefinite(content []byte) bool {
	return bytes.HasPrefix(content, []byte{0x30, 0x80, 0x02, 0x01, 0x03})
}

// checkPKCS12 validates the outer structure of the file, and returns the file in DER. The decoder
// would report only ASN.1 errors. A file that can't be converted to DER is returned unchanged, so
// that the decoder rejects it.
func checkPKCS12(content []byte) ([]byte, error) {
	switch {
	case len(content) == 0:
		return nil, errors.New("the file is empty")
	case len(content) > MaxPartSize:
		return nil, fmt.Errorf("the file has %d bytes: the limit is %d", len(content), MaxPartSize)
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
		return nil, fmt.Errorf("the file is truncated: it has %d of the %d bytes that its header declares; "+
			"download it again in binary mode", len(content), end)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf(
			"the file is truncated: its %d bytes end inside a value; download it again in binary mode", len(content))
	case len(content) > end:
		return nil, fmt.Errorf(
			"the file has %d extra bytes at its end: it was changed in transit; download it again in binary mode",
			len(content)-end)
	}
	return der, checkIterations(pfx.Iterations(der))
}

// maxIterations is the maximum number of iterations of a key derivation. They take seconds. Tools
// write at most some hundred thousand.
const maxIterations = 5_000_000

func checkIterations(rounds int) error {
	if rounds > maxIterations {
		return fmt.Errorf(
			"the file requires %d iterations of key derivation, which would take minutes: the limit is %d", rounds,
			maxIterations)
	}
	return nil
}

// notPKCS12 describes the format of a file that is not PKCS#12. The description never contains
// content of the file.
func notPKCS12(content []byte) string {
	if decoded, ok := decodeBase64(content); ok && IsPKCS12(decoded) {
		return "it looks like PKCS#12 in base64; decode it (base64 -d)"
	}
	switch {
	case bytes.HasPrefix(content, []byte("\xfe\xed\xfe\xed")):
		return "it looks like a Java key store; convert it (keytool -importkeystore -srckeystore FILE -destkeystore " +
			"new.p12 -deststoretype PKCS12)"
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

// derLength returns the length of a DER value of the long form, including its header (X.690
// §8.1.3.5).
func derLength(value []byte) int {
	header := 2 + int(value[1]&0x7f)
	if len(value) < header {
		return header
	}
	var length [8]byte
	copy(length[8-(header-2):], value[2:header])
	return header + int(binary.BigEndian.Uint64(length[:])) //nolint:gosec // isDER allows at most three length bytes.
}

// explainPKCS12 translates an error of the decoder into a message with a fix. The decoder exports
// only a few error values. The others are matched by their text in the version in go.mod, and a
// test covers each of them.
func explainPKCS12(content []byte, err error, password string) error {
	var unsupported pkcs12.NotImplementedError
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword) && password == "":
		return errors.New("the file has a password, and none was given")
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, pkcs12.ErrDecryption):
		return errors.New("the password is wrong")
	case errors.As(err, &unsupported):
		return fmt.Errorf("the file is PKCS#12, but of an unsupported kind: %s", Printable(unsupported.Error()))
	}
	switch err.Error() {
	case "pkcs12: expected exactly one key bag":
		return errors.New("the file holds several private keys: export the right one into a separate file (keytool " +
			"-importkeystore -srcalias NAME …)")
	case "pkcs12: private key missing":
		return errors.New(
			"the file holds certificates but no private key: it is a trust store, or was exported without the " +
				"key; export it with the key")
	case "pkcs12: certificate missing":
		return errors.New(withoutCertificate(content, password))
	case "pkcs12: no MAC in data":
		return errors.New("the file has no password (no MAC): omit the password")
	case "pkcs12: string contains characters that cannot be encoded in UCS-2":
		return errors.New(
			"the password has characters that PKCS#12 doesn't allow (outside the Unicode Basic Multilingual Plane)")
	}
	return errors.New("the file has the right length, but its content is corrupted; download it again in binary mode")
}

func withoutCertificate(content []byte, password string) string {
	// A trust store contains only certificates, and this file has none, so it is empty.
	if _, err := pkcs12.DecodeTrustStore(content, password); err == nil {
		return "the file holds neither a private key nor a certificate"
	}
	return "the file holds a private key but no certificate: ask for a file with both, or join key and " +
		"certificate with credential complete"
}
