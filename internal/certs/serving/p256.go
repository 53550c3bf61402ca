package serving

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"sync"

	cmtls "github.com/cert-manager/cert-manager/pkg/server/tls"
)

// p256Source is a DynamicSource whose leaves have P-256 keys. DynamicSource makes P-384 keys only,
// with which a TLS handshake costs both sides about eight times as much
// (https://github.com/cert-manager/cert-manager/blob/v1.21.2/pkg/server/tls/dynamic_source.go).
// DynamicSource still decides when a leaf is renewed.
type p256Source struct {
	*cmtls.DynamicSource
	authority *p256Authority
}

// newP256Source makes the Authority of source sign leaves with P-256 keys too.
func newP256Source(source *cmtls.DynamicSource) *p256Source {
	authority := &p256Authority{Authority: source.Authority}
	source.Authority = authority
	return &p256Source{DynamicSource: source, authority: authority}
}

// GetCertificate returns the leaf with a P-256 key that was signed together with the one of
// DynamicSource.
func (s *p256Source) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	theirs, err := s.DynamicSource.GetCertificate(hello)
	if err != nil {
		return nil, err
	}
	return s.authority.twin(theirs), nil
}

// p256Authority is an authority that signs, with each leaf, a second one with a P-256 key.
type p256Authority struct {
	cmtls.Authority

	mu sync.Mutex
	// newest and former are the last two pairs: DynamicSource may still return the former one after
	// the newest was signed.
	newest, former leafPair
}

// leafPair is a leaf that DynamicSource knows, as DER, and the one that is served instead.
type leafPair struct {
	theirs []byte
	served *tls.Certificate
}

// Sign signs both leaves, and returns the one of the template.
func (a *p256Authority) Sign(template *x509.Certificate) (*x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	twin := *template
	twin.PublicKey = key.Public()
	served, err := a.Authority.Sign(&twin)
	if err != nil {
		return nil, err
	}
	theirs, err := a.Authority.Sign(template)
	if err != nil {
		return nil, err
	}
	pair := leafPair{
		theirs: theirs.Raw,
		served: &tls.Certificate{Certificate: [][]byte{served.Raw}, PrivateKey: key, Leaf: served},
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.newest, a.former = pair, a.newest
	return theirs, nil
}

// twin returns the leaf that was signed with a leaf of DynamicSource.
func (a *p256Authority) twin(theirs *tls.Certificate) *tls.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	if bytes.Equal(a.former.theirs, theirs.Certificate[0]) {
		return a.former.served
	}
	return a.newest.served
}
