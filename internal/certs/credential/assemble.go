package credential

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"mtls.egress/webhook/internal/egress"
)

// Assembled is the content of a credential Secret.
type Assembled struct {
	// Data is the data of the Secret, by the keys of the layout.
	Data map[string][]byte
	// Credential describes the client certificate.
	Credential *Credential
	// Findings contains only warnings.
	Findings []Finding
}

// Assemble returns the content of a Secret with the given layout, as PEM without other text: the
// leaf and its intermediates in order and without the root, the private key as PKCS#8, and the CA
// of the server. If layout.ServerCA is "", the CA is omitted. If [Check] refuses the credential,
// the error is a [*RefusedError].
func Assemble(bundle Bundle, serverCA Authorities, layout egress.Layout, now time.Time) (*Assembled, error) {
	chain, err := Arrange(bundle)
	if err != nil {
		return nil, err
	}
	key, err := encodePrivateKey(bundle.PrivateKey)
	if err != nil {
		return nil, err
	}
	data := map[string][]byte{layout.Certificate: encodeCertificates(chain.Certificates), layout.PrivateKey: key}
	if layout.ServerCA != "" {
		data[layout.ServerCA] = serverCA.Encode()
	}
	credential, err := Check(data, layout, now)
	if err != nil {
		return nil, err
	}
	findings := slices.Concat(bundle.Findings, Review(chain, serverCA, now))
	return &Assembled{Data: data, Credential: credential, Findings: findings}, nil
}

func encodeCertificates(certificates []*x509.Certificate) []byte {
	encoded := make([][]byte, 0, len(certificates))
	for _, certificate := range certificates {
		encoded = append(encoded, certificate.Raw)
	}
	return encodeDER(encoded)
}

func encodeDER(certificates [][]byte) []byte {
	var out bytes.Buffer
	for _, der := range certificates {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: der}))
	}
	return out.Bytes()
}

// encodePrivateKey returns the key as a PKCS#8 PEM block. It doesn't wrap the error of the encoder,
// which could contain the key.
func encodePrivateKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, errors.New("the private key can't be encoded as PKCS#8: use an RSA or ECDSA key")
	}
	return pem.EncodeToMemory(&pem.Block{Type: pkcs8Block, Bytes: der}), nil
}

// ReadCertificates parses a client certificate, and others in the same file, from a PEM or DER
// file. name is the name of the file, for error messages.
func ReadCertificates(name string, content []byte) ([]*x509.Certificate, error) {
	return readCertificateFile(part{certificatePart, name}, content)
}

// ReadPrivateKey parses the private key in a PEM file. name is the name of the file, for error
// messages.
func ReadPrivateKey(name string, content []byte) (crypto.Signer, error) {
	p := part{privateKeyPart, name}
	text, problem := readable(p, content)
	var key crypto.Signer
	if problem == "" {
		key, problem = readPrivateKey(p, text)
	}
	if problem != "" {
		return nil, errors.New(problem)
	}
	return key, nil
}

func readCertificateFile(p part, content []byte) ([]*x509.Certificate, error) {
	encoded, isBundle, problem := encodedCertificates(p, content)
	if problem != "" {
		return nil, errors.New(problem)
	}
	certificates, problem := parseCertificates(p, encoded)
	if problem != "" {
		return nil, errors.New(problem)
	}
	if isBundle {
		return leafFirst(certificates), nil
	}
	return certificates, nil
}

// encodedCertificates returns the certificates of a PEM, DER or PKCS#7 file in DER, and whether the
// file is a PKCS#7 bundle, which has no order.
func encodedCertificates(p part, content []byte) (encoded [][]byte, isBundle bool, problem string) {
	isBinary := len(content) <= MaxPartSize && (isPKCS7(content) || isDER(content) && !isPKCS12(content))
	if !isBinary {
		if content, problem = readable(p, content); problem != "" {
			return nil, false, problem
		}
	}
	if len(content) <= MaxPartSize {
		expanded, found, problem := expandPKCS7(p, content)
		switch {
		case problem != "":
			return nil, false, problem
		case found:
			encoded, problem = certificateBlocks(p, expanded)
			return encoded, true, problem
		}
	}
	if !isBinary {
		encoded, problem = certificateBlocks(p, content)
		return encoded, false, problem
	}
	encoded, ok := splitDER(content)
	if ok && len(encoded[0]) <= maxCertificateSize {
		_, ok = outlined(encoded[0])
	}
	if !ok {
		return nil, false,
			fmt.Sprintf("%s is DER, but neither a certificate nor PKCS#7 (.p7b); request the certificate as PEM", p)
	}
	return encoded, false, ""
}
