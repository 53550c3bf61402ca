package credential

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"mtls.egress/webhook/internal/certs/pfx"
	"mtls.egress/webhook/internal/egress"
)

// Bundle is a private key with certificates, in any order.
type Bundle struct {
	PrivateKey   crypto.Signer
	Certificates []*x509.Certificate
	// Findings are warnings about the file.
	Findings []Finding
}

// ReadPKCS12 decodes a PKCS#12 file (RFC 7292; .p12, .pfx) with its password, which can be empty.
// The encoding is DER or BER, with a MAC or without. The file must contain one private key and at
// least one certificate. The same key can occur several times. Certificates that can't be parsed
// are omitted with a finding. Friendly names and other attributes are dropped.
//
// The error is a [*RefusedError] if the file was read, but its key or certificate is of a type that
// a sidecar can't use. The Bundle then contains the certificates. Errors contain a fix, and no byte
// of the content or the password. If the password is the reason, the error is a
// [*WrongPasswordError].
func ReadPKCS12(content []byte, password string) (Bundle, error) {
	contents, err := readPKCS12(content, password)
	if err != nil {
		return Bundle{}, err
	}
	return bundleOf(contents)
}

func readPKCS12(content []byte, password string) (pfx.Contents, error) {
	der, err := checkPKCS12(content)
	if err != nil {
		return pfx.Contents{}, err
	}
	contents, err := pfx.Read(der, password, maxIterations)
	if err != nil {
		return pfx.Contents{}, explainPKCS12(err, password)
	}
	return contents, nil
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
			"the file has %s at its end: it was changed in transit; download it again in binary mode",
			egress.Counted(len(content)-end, "extra byte"))
	}
	return der, nil
}

// maxIterations is the maximum number of iterations of all key derivations for a file. They take
// seconds. Tools write at most some hundred thousand for each of three.
const maxIterations = 5_000_000

// notPKCS12 describes the format of a file that is not PKCS#12. The description never contains
// content of the file.
func notPKCS12(content []byte) string {
	if decoded, ok := decodeBase64(content); ok && IsPKCS12(decoded) {
		return "it looks like PKCS#12 in base64; decode it (base64 -d)"
	}
	switch {
	case javaStore(content) != "":
		return javaStore(content)
	case isPKCS7(content):
		return "it looks like PKCS#7 (.p7b), which holds certificates without a key; join them with the key with " +
			"credential complete --cert FILE"
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
