package credential

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"mtls.egress/webhook/internal/egress"
)

// Assembled is a credential that is ready to become a Secret.
type Assembled struct {
	// Data is that of the Secret, by the keys of the layout.
	Data map[string][]byte
	// Credential says what it is.
	Credential *Credential
	// Findings are warnings only.
	Findings []Finding
}

// Assemble makes of a bundle and the CA of the server what a Secret of the layout holds: the leaf
// and its intermediates in order without the root, the key as PKCS#8, and the CA, all as PEM with
// nothing else between. layout.ServerCA is "" where the CA comes from elsewhere. What [Check]
// refuses is refused here; the error is then a [*RefusedError].
func Assemble(bundle Bundle, serverCA []*x509.Certificate, layout egress.Layout, now time.Time) (*Assembled, error) {
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
		data[layout.ServerCA] = encodeCertificates(serverCA)
	}
	credential, err := Check(data, layout, now)
	if err != nil {
		return nil, err
	}
	return &Assembled{Data: data, Credential: credential, Findings: Review(chain, serverCA, now)}, nil
}

func encodeCertificates(certificates []*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, certificate := range certificates {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: certificate.Raw}))
	}
	return out.Bytes()
}

// encodePrivateKey passes no error of the encoder on: it might quote the key.
func encodePrivateKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, errors.New("the private key is of a kind that can't be written as PKCS#8: a TLS client needs an RSA or ECDSA key")
	}
	return pem.EncodeToMemory(&pem.Block{Type: pkcs8Block, Bytes: der}), nil
}

// ReadServerCA reads the CA certificates of a server from a file, PEM or DER, whose name stands in
// the error.
func ReadServerCA(name string, content []byte) ([]*x509.Certificate, error) {
	return readCertificateFile(part{serverCAPart, name}, content)
}

// ReadCertificates reads a client certificate, and others that stand with it, from a file, PEM or
// DER, whose name stands in the error.
func ReadCertificates(name string, content []byte) ([]*x509.Certificate, error) {
	return readCertificateFile(part{certificatePart, name}, content)
}

// ReadPrivateKey reads the private key of a PEM file, whose name stands in the error.
func ReadPrivateKey(name string, content []byte) (crypto.Signer, error) {
	key, problem := readPrivateKey(part{privateKeyPart, name}, content)
	if problem != "" {
		return nil, errors.New(problem)
	}
	return key, nil
}

func readCertificateFile(p part, content []byte) ([]*x509.Certificate, error) {
	if isDER(content) && !isPKCS12(content) && len(content) <= MaxPartSize {
		encoded, ok := splitDER(content)
		if !ok || len(encoded[0]) <= maxCertificateSize && !isCertificate(encoded[0]) {
			return nil, fmt.Errorf("%s is DER, but not a certificate; of PKCS#7 (.p7b) take the certificates out (openssl pkcs7 -inform DER -print_certs)", p)
		}
		return certificatesOrError(parseCertificates(p, encoded))
	}
	return certificatesOrError(readCertificates(p, content))
}

func isCertificate(der []byte) bool {
	_, err := x509.ParseCertificate(der)
	return err == nil
}

func certificatesOrError(certificates []*x509.Certificate, problem string) ([]*x509.Certificate, error) {
	if problem != "" {
		return nil, errors.New(problem)
	}
	return certificates, nil
}
