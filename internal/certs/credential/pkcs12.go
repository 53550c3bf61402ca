package credential

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"

	pkcs12 "software.sslmate.com/src/go-pkcs12"
)

// Bundle is a private key and the certificates that came with it, in any order.
type Bundle struct {
	PrivateKey   crypto.Signer
	Certificates []*x509.Certificate
}

// ReadPKCS12 opens a PKCS#12 file (RFC 7292; .p12, .pfx) with its password, which may be empty. Old files (RC2, 3DES, a MAC with SHA-1) and modern ones (AES,
// PBKDF2, a MAC with SHA-256, PBMAC1) are read. The file must hold one private key and a certificate. Friendly names and other
// attributes are dropped. The errors say what to do; none holds a byte of the content or of the password.
func ReadPKCS12(content []byte, password string) (Bundle, error) {
	if err := checkPKCS12(content); err != nil {
		return Bundle{}, err
	}
	key, leaf, others, err := pkcs12.DecodeChain(content, password)
	if err != nil {
		return Bundle{}, explainPKCS12(content, err, password)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return Bundle{}, errors.New("its private key cannot sign, it is for key agreement only: a TLS client needs an RSA or ECDSA key")
	}
	return Bundle{PrivateKey: signer, Certificates: append([]*x509.Certificate{leaf}, others...)}, nil
}

// IsPKCS12 says whether content begins as a PKCS#12 file, in DER or in BER.
func IsPKCS12(content []byte) bool {
	return isPKCS12(content) || isIndefinite(content)
}

// isIndefinite says whether content begins as a PFX of indefinite length, which BER allows and DER doesn't (X.690 §8.1.3.6).
func isIndefinite(content []byte) bool {
	return bytes.HasPrefix(content, []byte{0x30, 0x80, 0x02, 0x01, 0x03})
}

// checkPKCS12 finds what is wrong with the outside of the file, for which the decoder has the words of ASN.1 only.
func checkPKCS12(content []byte) error {
	const convert = "openssl pkcs12 -in FILE -nodes -out all.pem, then openssl pkcs12 -export -in all.pem -out new.p12, and delete all.pem, which holds the key (OpenSSL 3 reads files of old programs with -legacy behind the first pkcs12)"
	switch {
	case len(content) == 0:
		return errors.New("the file is empty")
	case len(content) > MaxPartSize:
		return fmt.Errorf("the file has %d bytes: more than %d are not read", len(content), MaxPartSize)
	case isIndefinite(content):
		return fmt.Errorf("the file is PKCS#12 in BER with indefinite lengths, as NSS (Firefox) and some devices write it; convert it to DER: %s", convert)
	case !isPKCS12(content):
		return errors.New("the file is not PKCS#12: " + notPKCS12(content))
	}
	switch declared := derLength(content); {
	case len(content) < declared:
		return fmt.Errorf("the file is truncated: it has %d of the %d bytes that it begins to tell; fetch it again, in binary mode", len(content), declared)
	case len(content) > declared:
		return fmt.Errorf("the file has %d bytes behind its end: it was changed on its way; fetch it again, in binary mode", len(content)-declared)
	}
	if rounds := macIterations(content); rounds > maxIterations {
		return fmt.Errorf("the file asks for %d rounds of key derivation, which would take minutes; more than %d are not tried", rounds, maxIterations)
	}
	return nil
}

// maxIterations is far above what any tool writes (at most some hundred thousand) and takes seconds.
const maxIterations = 5_000_000

// macIterations is how many rounds the MAC takes, which anybody can set who sends a file. What else has rounds lies behind the MAC. It is 0 where the structure
// can't be read; the decoder says so then.
func macIterations(content []byte) int {
	var file struct {
		Version  int
		AuthSafe asn1.RawValue
		MAC      struct {
			Digest struct {
				Algorithm pkix.AlgorithmIdentifier
				Value     []byte
			}
			Salt       []byte
			Iterations int `asn1:"optional,default:1"`
		} `asn1:"optional"`
	}
	if _, err := asn1.Unmarshal(content, &file); err != nil {
		return 0
	}
	// PBMAC1 has its own number, and the other means nothing then (RFC 9579).
	if file.MAC.Digest.Algorithm.Algorithm.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 14}) {
		return pbmac1Iterations(file.MAC.Digest.Algorithm.Parameters)
	}
	return file.MAC.Iterations
}

// pbmac1Iterations reads the number of rounds of PBKDF2 in the parameters of PBMAC1 (RFC 8018 appendix A.2 and A.5).
func pbmac1Iterations(parameters asn1.RawValue) int {
	var mac struct {
		Derivation struct {
			Algorithm  asn1.ObjectIdentifier
			Parameters struct {
				Salt       asn1.RawValue
				Iterations int
			}
		}
	}
	if _, err := asn1.Unmarshal(parameters.FullBytes, &mac); err != nil {
		return 0
	}
	return mac.Derivation.Parameters.Iterations
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

// derLength is the length that the header of a DER value of the long form tells, the header among it (X.690 §8.1.3.5).
func derLength(value []byte) int {
	header := 2 + int(value[1]&0x7f)
	if len(value) < header {
		return header
	}
	var length [8]byte
	copy(length[8-(header-2):], value[2:header])
	return header + int(binary.BigEndian.Uint64(length[:])) //nolint:gosec // At most three bytes of length: isDER.
}

// explainPKCS12 says for a person what the decoder means. It has values for a few of its errors only; the texts of the others
// are those of the version in go.mod, and a test has each of them.
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
