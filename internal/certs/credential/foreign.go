package credential

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mtls.egress/webhook/internal/certs/jks"
	"mtls.egress/webhook/internal/certs/pfx"
)

// javaStore describes a Java key store, with the command that converts it. It returns "" for other
// files.
func javaStore(content []byte) string {
	kind := jks.Kind(content)
	if kind == "" {
		return ""
	}
	return fmt.Sprintf("it is a Java key store (%s); convert it (%s)", kind, convertJava(kind))
}

func convertJava(kind string) string {
	return "keytool -importkeystore -srckeystore FILE -srcstoretype " + kind +
		" -destkeystore new.p12 -deststoretype PKCS12"
}

// readJavaStore decodes a Java key store (JKS, JCEKS).
func readJavaStore(content []byte, password string) (pfx.Contents, error) {
	if len(content) > MaxPartSize {
		return pfx.Contents{}, fmt.Errorf("the file has %d bytes: the limit is %d", len(content), MaxPartSize)
	}
	kind := jks.Kind(content)
	read, err := jks.Read(content, password)
	switch {
	case errors.Is(err, jks.ErrPassword):
		return pfx.Contents{}, &WrongPasswordError{"the password is wrong"}
	case errors.Is(err, jks.ErrNoPassword):
		return pfx.Contents{}, errNoPassword
	case errors.Is(err, jks.ErrKeyPassword):
		return pfx.Contents{}, fmt.Errorf("the password is that of the file, but its private key has another one, and a "+
			"file can have only one here; change it (%s asks for both)", convertJava(kind))
	case errors.Is(err, jks.ErrUnsupported):
		return pfx.Contents{}, fmt.Errorf("the file is a Java key store (%s), and its private key is encrypted in a way "+
			"that is not supported: convert it (%s)", kind, convertJava(kind))
	case err != nil:
		return pfx.Contents{}, fmt.Errorf("the file is a damaged Java key store (%s): %s; download it again in binary mode",
			kind, strings.TrimPrefix(err.Error(), "jks: "))
	}
	return pfx.Contents{Keys: items(read.Keys), Certificates: items(read.Certificates)}, nil
}

func items(read []jks.Item) (converted []pfx.Item) {
	for _, item := range read {
		converted = append(converted, pfx.Item{DER: item.DER, Name: item.Name})
	}
	return converted
}

// signedData is the ContentInfo of a SignedData (RFC 5652 §5.1), up to its certificates.
type signedData struct {
	Type    asn1.ObjectIdentifier
	Content struct {
		Version      int
		Digests      asn1.RawValue
		Inner        asn1.RawValue
		Certificates asn1.RawValue `asn1:"optional"`
	} `asn1:"tag:0,explicit"`
}

// isPKCS7 reports whether content begins like a SignedData: a SEQUENCE whose first element is its
// type.
func isPKCS7(content []byte) bool {
	signed, _ := asn1.Marshal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2})
	if len(content) < 2 || content[0] != 0x30 {
		return false
	}
	header := 2
	if content[1] > 0x80 {
		header += int(content[1] & 0x7f)
	}
	return bytes.HasPrefix(content[min(header, len(content)):], signed)
}

// certificatesOfPKCS7 returns the certificates in DER of a PKCS#7 bundle (.p7b), in DER or BER.
func certificatesOfPKCS7(content []byte) (encoded [][]byte, ok bool) {
	if der, rest, err := pfx.ToDER(content); err == nil && len(rest) == 0 {
		content = der
	}
	var bundle signedData
	if _, err := asn1.Unmarshal(content, &bundle); err != nil {
		return nil, false
	}
	certificates := bundle.Content.Certificates
	if certificates.Class != asn1.ClassContextSpecific || certificates.Tag != 0 {
		return nil, true
	}
	return splitDER(certificates.Bytes)
}

// expandPKCS7 replaces the PKCS#7 bundles in a file by their certificates, in PEM. A bundle is DER,
// a block of the type PKCS7, or a block of the type CERTIFICATE, as Active Directory Certificate
// Services writes it (certreq, and "Base 64 encoded" on its web pages). found is false if the file
// has none. problem is not "" if one can't be read.
func expandPKCS7(p part, content []byte) (expanded []byte, found bool, problem string) {
	var blocks []*pem.Block
	if isPKCS7(content) {
		blocks = []*pem.Block{{Type: pkcs7Block, Bytes: content}}
	}
	for rest := content; len(blocks) == 0 || countBegin(content) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		blocks = append(blocks, block)
	}
	var out bytes.Buffer
	for _, block := range blocks {
		if block.Type != pkcs7Block && (block.Type != certificateBlock || !isPKCS7(block.Bytes)) {
			out.Write(pem.EncodeToMemory(block))
			continue
		}
		encoded, ok := certificatesOfPKCS7(block.Bytes)
		if !ok || len(encoded) == 0 {
			return nil, true,
				fmt.Sprintf("%s is PKCS#7 (.p7b), but holds no readable certificate; check it with openssl "+
					"pkcs7 -print_certs, and request the certificate as PEM", p)
		}
		found = true
		for _, der := range encoded {
			out.Write(pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: der}))
		}
	}
	return out.Bytes(), found, ""
}

// leafFirst sorts certificates of a PKCS#7 bundle, which is a set without an order. The leaf is the
// only certificate that issued no other. If there are several, it returns the certificates
// unchanged.
func leafFirst(certificates []*x509.Certificate) []*x509.Certificate {
	if checkChain(certificates) != "" {
		return certificates
	}
	var leaves []*x509.Certificate
	for _, candidate := range certificates {
		if !slices.ContainsFunc(certificates, func(c *x509.Certificate) bool {
			return !c.Equal(candidate) && issuedBy(c, candidate)
		}) {
			leaves = append(leaves, candidate)
		}
	}
	if len(leaves) != 1 {
		return certificates
	}
	chain := follow(leaves[0], certificates)
	return slices.Concat(chain.withRoot(), chain.Unrelated)
}
