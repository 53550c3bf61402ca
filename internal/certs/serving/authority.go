package serving

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// clockTolerance is how far ahead the clock of the replica that made the CA may be.
const clockTolerance = 5 * time.Minute

// authority is a CA with its private key.
type authority struct {
	pair *tls.Certificate
	// pem is the CA certificate, as it is in the Secret.
	pem []byte
}

// newAuthority returns the data of a Secret with a new CA, which is valid for lifetime.
//
// The key is on P-256: an API server that makes more than 25 calls at once opens a connection for
// most of them, and each time it checks a signature of the CA, which takes nine times as long on
// P-384. On amd64 and arm64, Go has P-256 in assembly.
func newAuthority(lifetime time.Duration, now time.Time) (map[string][]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: CACommonName}, NotBefore: now, NotAfter: now.Add(lifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: der})
	return map[string][]byte{
		caKey: certificate, corev1.TLSCertKey: certificate,
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}),
	}, nil
}

// authorityOf returns the CA in the data of a Secret, or an error if it has none that can sign.
// The error contains no part of a key.
func authorityOf(data map[string][]byte, now time.Time) (*authority, error) {
	for _, key := range []string{caKey, corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		if len(data[key]) == 0 {
			return nil, fmt.Errorf("the Secret has no %s", key)
		}
	}
	if !bytes.Equal(data[caKey], data[corev1.TLSCertKey]) {
		return nil, errors.New("ca.crt and tls.crt differ")
	}
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	switch {
	case err != nil:
		return nil, fmt.Errorf("tls.crt and tls.key: %w", err)
	case !pair.Leaf.IsCA:
		return nil, errors.New("tls.crt is not a CA certificate")
	}
	ca := &authority{pair: &pair, pem: data[caKey]}
	switch begin := pair.Leaf.NotBefore; {
	case ca.expired(now):
		return nil, ca.expiry()
	case begin.After(now.Add(clockTolerance)):
		return nil, fmt.Errorf("the CA is not valid before %s: the clock of the replica that made it was ahead, or the "+
			"clock here is behind", begin.UTC().Format(time.RFC3339))
	}
	return ca, nil
}

func (a *authority) expired(now time.Time) bool { return now.After(a.pair.Leaf.NotAfter) }

func (a *authority) expiry() error {
	return fmt.Errorf("the CA expires on %s", a.pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
}

// renewal returns when two thirds of the life of a certificate have passed.
func renewal(certificate *x509.Certificate) time.Time {
	return certificate.NotAfter.Add(-certificate.NotAfter.Sub(certificate.NotBefore) / 3)
}

// sign returns a leaf with a new key for DNS names and IP addresses, which is valid for lifetime,
// but only while the CA is. It returns an error if clients that trust the CA would not accept the
// leaf, for example because the CA may not sign for one of the names. Clients that call a URL with
// an IP address compare it only with the IP addresses of the certificate (RFC 9525 section 6.4).
func (a *authority) sign(names []string, lifetime time.Duration, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		NotBefore: now, NotAfter: now.Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if begin := a.pair.Leaf.NotBefore; template.NotBefore.Before(begin) {
		template.NotBefore = begin
	}
	if end := a.pair.Leaf.NotAfter; template.NotAfter.After(end) {
		template.NotAfter = end
	}
	for _, name := range names {
		if address := net.ParseIP(name); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.pair.Leaf, key.Public(), a.pair.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("sign the serving certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.pair.Leaf)
	for _, name := range names {
		check := x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: leaf.NotBefore}
		if _, err := leaf.Verify(check); err != nil {
			return nil, fmt.Errorf("sign the serving certificate: %w", err)
		}
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
