// Package pki makes certificates for tests: authorities, intermediates and leaves with exactly the
// fields a test asks for. Keys are ECDSA P-256 unless a test brings its own, because generating
// them is fast.
//
// Nothing reads the clock: certificates without a validity are valid from [Epoch] for a hundred
// years, so a test chooses its own "now".
//
// Functions that take a testing.TB end the test when they fail. Programs use [Authority] and
// [CA.Sign], which return the error.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"
)

// Epoch is the NotBefore of certificates whose template names none.
func Epoch() time.Time { return time.Date(2020, time.January, 1, 0, 0, 0, 0, time.UTC) }

// forever is the NotAfter of certificates whose template names none.
func forever() time.Time { return Epoch().AddDate(100, 0, 0) }

// Template says what a certificate holds. Usages are taken as given: none means that the
// certificate has no such extension. [Client] and [Server] give the usual ones.
type Template struct {
	// Subject of the certificate.
	Subject pkix.Name
	// RawSubject is the subject in DER; it wins over Subject.
	RawSubject []byte
	// SerialNumber of the certificate; default: random, 127 bits.
	SerialNumber *big.Int
	// NotBefore and NotAfter bound the validity; default: a hundred years from [Epoch].
	NotBefore, NotAfter time.Time
	// Subject alternative names.
	DNSNames       []string
	EmailAddresses []string
	URIs           []*url.URL
	IPAddresses    []net.IP
	// KeyUsage and ExtKeyUsage become the extensions of that name, when not empty.
	KeyUsage    x509.KeyUsage
	ExtKeyUsage []x509.ExtKeyUsage
	// IsCA marks the certificate as an authority.
	IsCA bool
	// PermittedDNSDomains are the only domains that an authority may sign for, unless it is empty.
	PermittedDNSDomains []string
	// ExtraExtensions are added as they are.
	ExtraExtensions []pkix.Extension
	// Key of the certificate; default: a new ECDSA P-256 key.
	Key crypto.Signer
	// SignatureAlgorithm is how the issuer signs; default: with SHA-256, or what its curve asks for.
	SignatureAlgorithm x509.SignatureAlgorithm
}

// Client is the template of an ordinary client certificate.
func Client(commonName string) Template {
	return Template{
		Subject:     pkix.Name{CommonName: commonName},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// Server is the template of an ordinary server certificate.
func Server(dnsNames ...string) Template {
	return Template{
		DNSNames:    dnsNames,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

// Pair is a certificate and its key.
type Pair struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
	// CertPEM is one CERTIFICATE block.
	CertPEM []byte
	// KeyPEM is one PKCS#8 PRIVATE KEY block.
	KeyPEM []byte
}

// CA is an authority; the embedded pair is its own certificate and key.
type CA struct {
	Pair
}

// Authority makes a self-signed authority.
func Authority(commonName string) (*CA, error) {
	pair, err := sign(nil, authority(commonName))
	if err != nil {
		return nil, err
	}
	return &CA{Pair: pair}, nil
}

// Sign signs a certificate.
func (ca *CA) Sign(template Template) (Pair, error) {
	return sign(ca, template)
}

// NewCA makes a self-signed authority.
func NewCA(tb testing.TB, commonName string) *CA {
	tb.Helper()
	return SelfSigned(tb, authority(commonName))
}

// SelfSigned makes an authority of a template that the caller controls, for example its validity.
func SelfSigned(tb testing.TB, template Template) *CA {
	tb.Helper()
	pair, err := sign(nil, template)
	if err != nil {
		tb.Fatal(err)
	}
	return &CA{Pair: pair}
}

// Intermediate makes an authority that ca has signed.
func (ca *CA) Intermediate(tb testing.TB, commonName string) *CA {
	tb.Helper()
	return &CA{Pair: ca.Issue(tb, authority(commonName))}
}

// Issue signs a certificate.
func (ca *CA) Issue(tb testing.TB, template Template) Pair {
	tb.Helper()
	pair, err := sign(ca, template)
	if err != nil {
		tb.Fatal(err)
	}
	return pair
}

// Pool is the trust store that holds ca alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate)
	return pool
}

func authority(commonName string) Template {
	return Template{
		Subject:  pkix.Name{CommonName: commonName},
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:     true,
	}
}

// sign signs with the key of issuer, or with its own when issuer is nil.
func sign(issuer *CA, t Template) (Pair, error) {
	key := t.Key
	if key == nil {
		generated, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return Pair{}, fmt.Errorf("generate a key: %w", err)
		}
		key = generated
	}
	if t.SerialNumber == nil {
		serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
		if err != nil {
			return Pair{}, fmt.Errorf("draw a serial number: %w", err)
		}
		t.SerialNumber = serial
	}
	if t.NotBefore.IsZero() {
		t.NotBefore = Epoch()
	}
	if t.NotAfter.IsZero() {
		t.NotAfter = forever()
	}

	template := &x509.Certificate{
		SerialNumber:          t.SerialNumber,
		Subject:               t.Subject,
		RawSubject:            t.RawSubject,
		NotBefore:             t.NotBefore,
		NotAfter:              t.NotAfter,
		DNSNames:              t.DNSNames,
		EmailAddresses:        t.EmailAddresses,
		URIs:                  t.URIs,
		IPAddresses:           t.IPAddresses,
		KeyUsage:              t.KeyUsage,
		ExtKeyUsage:           t.ExtKeyUsage,
		BasicConstraintsValid: true,
		IsCA:                  t.IsCA,
		PermittedDNSDomains:   t.PermittedDNSDomains,
		ExtraExtensions:       t.ExtraExtensions,
		SignatureAlgorithm:    t.SignatureAlgorithm,
	}
	parent, parentKey := template, key
	if issuer != nil {
		parent, parentKey = issuer.Certificate, issuer.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return Pair{}, fmt.Errorf("sign a certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return Pair{}, fmt.Errorf("read the signed certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encode the key: %w", err)
	}
	return Pair{
		Certificate: certificate,
		Key:         key,
		CertPEM:     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}
