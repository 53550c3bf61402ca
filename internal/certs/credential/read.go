package credential

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"

	"mtls.egress/webhook/internal/egress"
)

// MaxPartSize is the maximum size of a part of a credential in bytes. It is the limit of a whole
// Secret (https://kubernetes.io/docs/concepts/configuration/secret/#restriction-data-size).
const MaxPartSize = 1 << 20

// The types of PEM blocks in a part (RFC 7468, and OpenSSL's PEM_write_bio_PrivateKey(3) for older
// ones).
const (
	certificateBlock  = "CERTIFICATE"
	pkcs8Block        = "PRIVATE KEY"
	pkcs1Block        = "RSA PRIVATE KEY"
	sec1Block         = "EC PRIVATE KEY"
	encryptedKeyBlock = "ENCRYPTED PRIVATE KEY"
	openSSHKeyBlock   = "OPENSSH PRIVATE KEY"
	requestBlock      = "CERTIFICATE REQUEST"
	pkcs7Block        = "PKCS7"
	publicKeyBlock    = "PUBLIC KEY"
)

// readCertificates parses all certificates of a part. It skips blocks of other types, like the
// sidecar. problem is "" if all certificates are valid. Otherwise, the certificates before the
// first invalid one are returned.
func readCertificates(p part, value []byte) (certificates []*x509.Certificate, problem string) {
	encoded, problem := certificateBlocks(p, value)
	if problem != "" {
		return nil, problem
	}
	return parseCertificates(p, encoded)
}

// certificateBlocks returns the certificates of a part in DER, of which there is at least one.
func certificateBlocks(p part, value []byte) (encoded [][]byte, problem string) {
	blocks, problem := readPEM(p, value, "openssl x509 -inform DER -in FILE -out "+p.key)
	if problem != "" {
		return nil, problem
	}
	for _, block := range blocks {
		if block.Type == certificateBlock {
			encoded = append(encoded, block.Bytes)
		}
	}
	if len(encoded) == 0 {
		return nil, fmt.Sprintf("%s holds no certificate but %s", p, contents(blocks))
	}
	return encoded, ""
}

// readPrivateKey parses the only private key of a part. It doesn't wrap errors of parsers, which
// could contain the key.
func readPrivateKey(p part, value []byte) (key crypto.Signer, problem string) {
	blocks, problem := readPEM(p, value, "openssl pkey -inform DER -in FILE -out "+p.key)
	if problem != "" {
		return nil, problem
	}
	var keys []*pem.Block
	for _, block := range blocks {
		if strings.HasSuffix(block.Type, pkcs8Block) {
			keys = append(keys, block)
		}
	}
	switch {
	case len(keys) == 0:
		return nil, fmt.Sprintf("%s holds no private key but %s", p, contents(blocks))
	case len(keys) > 1:
		return nil, fmt.Sprintf("%s holds %d private keys: keep only the one that belongs to the certificate", p,
			len(keys))
	case encrypted(keys[0]):
		return nil, fmt.Sprintf("%s is encrypted with a password, which the sidecar cannot know: store it decrypted "+
			"(openssl pkey -in FILE -out %s)", p, p.key)
	case keys[0].Type == openSSHKeyBlock:
		return nil, fmt.Sprintf("%s is in OpenSSH's own format: store it as PKCS#8 (BEGIN PRIVATE KEY)", p)
	}

	key, problem = parseKey(p.String(), keys[0])
	if problem != "" {
		return nil, p.String() + " " + problem
	}
	return key, ""
}

// encrypted reports whether a key is encrypted, either with PKCS#8 encryption or with the older
// one, which sets RFC 1421 headers in the block.
func encrypted(block *pem.Block) bool {
	return block.Type == encryptedKeyBlock || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED")
}

func parsePrivateKey(block *pem.Block) (key any, ok bool) {
	var err error
	switch block.Type {
	case pkcs8Block:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case pkcs1Block:
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case sec1Block:
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, false
	}
	return key, err == nil
}

// readPEM splits a part into its PEM blocks. Text around blocks is allowed, because PKCS#12 tools
// write "Bag Attributes". A block that can't be decoded is an error: the decoder skips it silently,
// but the sidecar rejects the file. A BEGIN that doesn't start a line is also an error: the decoder
// and the sidecar skip its block, so the issuer's certificate could replace the client certificate
// (https://github.com/google/boringssl/blob/main/crypto/pem/pem_lib.cc, PEM_read_bio).
func readPEM(p part, value []byte, convert string) (blocks []*pem.Block, problem string) {
	if len(value) > MaxPartSize {
		return nil, fmt.Sprintf("%s has %d bytes: the limit is %d", p, len(value), MaxPartSize)
	}
	// A part of a Secret is read by the sidecar as it is. Files are converted before.
	if text, form, err := Text(value); err != nil {
		return nil, p.String() + " " + err.Error()
	} else if form != "" && bytes.Contains(text, []byte(begin)) {
		return nil, fmt.Sprintf("%s %s, and the sidecar can't read it: save it as plain ASCII with line breaks", p, form)
	}
	begun := countBegin(value)
	for rest := value; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		blocks = append(blocks, block)
	}
	all := bytes.Count(value, []byte(begin))
	switch {
	case len(blocks) == 0 && begun == 0:
		return nil, fmt.Sprintf("%s is not PEM: %s", p, guess(value, convert))
	case begun < all:
		return nil, fmt.Sprintf(
			"%s is damaged: the BEGIN line of %d of its %s does not start a line; remove the text before "+
				"it, including blanks and byte order marks, or add a line break", p, all-begun, egress.Counted(all, "PEM block"))
	case len(blocks) < begun:
		return nil, fmt.Sprintf(
			"%s is damaged: %d of its %s cannot be decoded; a block needs its BEGIN and END lines and "+
				"the line breaks in between", p, begun-len(blocks), egress.Counted(begun, "PEM block"))
	default:
		return blocks, ""
	}
}

const begin = "-----BEGIN "

// countBegin counts the blocks that begin at the start of a line.
func countBegin(value []byte) int {
	count := bytes.Count(value, []byte("\n"+begin))
	if bytes.HasPrefix(value, []byte(begin)) {
		count++
	}
	return count
}

// contents describes the content of a part by the type of its first block. It doesn't include
// unknown types, because they are untrusted text.
func contents(blocks []*pem.Block) string {
	switch blocks[0].Type {
	case certificateBlock:
		return "a certificate: were two parts swapped?"
	case pkcs8Block, pkcs1Block, sec1Block, encryptedKeyBlock, openSSHKeyBlock:
		return "a private key: were two parts swapped?"
	case requestBlock, "NEW " + requestBlock:
		return "a certificate request: store the certificate that the CA issued for it"
	case pkcs7Block, "CMS":
		return "PKCS#7: extract the certificates from it (openssl pkcs7 -print_certs)"
	case publicKeyBlock:
		return "a public key"
	default:
		return "PEM of another type"
	}
}

// guess describes the likely format of a value that is not PEM, and the fix. The description never
// contains the value.
func guess(value []byte, convert string) string {
	switch {
	case javaStore(value) != "":
		return javaStore(value)
	case IsPKCS12(value):
		return "it looks like PKCS#12 (.p12, .pfx); extract the certificate and the key from it as PEM"
	case isDER(value):
		return "it looks like DER, the binary form; convert it (" + convert + ")"
	}

	decoded, ok := decodeBase64(value)
	switch {
	case ok && countBegin(decoded) > 0:
		return "it looks like PEM that is base64-encoded twice; put the PEM text in stringData, or its base64 in data"
	case ok && IsPKCS12(decoded):
		return "it looks like PKCS#12 (.p12, .pfx) in base64; decode it (base64 -d), and extract the certificate and the " +
			"key as PEM"
	case ok && isDER(decoded):
		return "it looks like the body of a PEM block without its BEGIN and END lines"
	case bytes.Contains(value, []byte(begin)):
		return "its BEGIN line does not start a line; remove the text before it, including blanks"
	default:
		return "it has no BEGIN line"
	}
}

func decodeBase64(value []byte) (decoded []byte, ok bool) {
	text := strings.Join(strings.Fields(string(value)), "")
	decoded, err := base64.StdEncoding.DecodeString(text)
	return decoded, err == nil
}

// isDER reports whether value begins like a SEQUENCE of more than 127 bytes, as all certificates
// and most keys do.
func isDER(value []byte) bool {
	return len(value) > 4 && value[0] == 0x30 && (value[1] == 0x81 || value[1] == 0x82 || value[1] == 0x83)
}

// isPKCS12 reports whether value begins like a PFX: a SEQUENCE whose first element is the INTEGER 3
// (RFC 7292 §4).
func isPKCS12(value []byte) bool {
	if !isDER(value) {
		return false
	}
	header := 2 + int(value[1]&0x7f)
	return bytes.HasPrefix(value[min(header, len(value)):], []byte{0x02, 0x01, 0x03})
}
