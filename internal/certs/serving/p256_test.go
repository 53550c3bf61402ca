package serving

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"testing"
	"time"

	cmtls "github.com/cert-manager/cert-manager/pkg/server/tls"
)

// selfSigning is an authority with a key. It fails once it has signed as many leaves as it is to.
type selfSigning struct {
	cmtls.Authority
	key  *ecdsa.PrivateKey
	left int
}

func (a *selfSigning) Sign(template *x509.Certificate) (*x509.Certificate, error) {
	if a.left == 0 {
		return nil, errors.New("no more")
	}
	a.left--
	issued := *template
	issued.SerialNumber, issued.NotAfter = big.NewInt(int64(a.left+1)), time.Now().Add(time.Hour)
	issuer := &x509.Certificate{SerialNumber: big.NewInt(1), PublicKey: a.key.Public()}
	der, err := x509.CreateCertificate(rand.Reader, &issued, issuer, template.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func TestTheTwinOfEachLeafHasAP256Key(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	authority := &p256Authority{Authority: &selfSigning{key: key, left: 5}}
	template := &x509.Certificate{DNSNames: []string{"webhook.mtls-egress.svc"}, PublicKey: key.Public()}
	sign := func() *tls.Certificate {
		t.Helper()
		leaf, err := authority.Sign(template)
		if err != nil {
			t.Fatal(err)
		}
		if leaf.PublicKey.(*ecdsa.PublicKey).Curve != elliptic.P384() {
			t.Errorf("the leaf that DynamicSource gets has a key of %v, want its own", leaf.PublicKeyAlgorithm)
		}
		return &tls.Certificate{Certificate: [][]byte{leaf.Raw}}
	}
	first := sign()
	served := authority.twin(first)
	second := sign()
	if authority.twin(first) != served || authority.twin(second) == served {
		t.Error("a leaf has the twin of another one")
	}
	for _, twin := range []*tls.Certificate{served, authority.twin(second)} {
		public, private := twin.Leaf.PublicKey.(*ecdsa.PublicKey), twin.PrivateKey.(*ecdsa.PrivateKey)
		if public.Curve != elliptic.P256() || !private.PublicKey.Equal(public) ||
			twin.Leaf.DNSNames[0] != template.DNSNames[0] {
			t.Errorf("a leaf for %q with a key of %s, want one of P-256", twin.Leaf.DNSNames, public.Params().Name)
		}
	}
	if _, err := authority.Sign(template); err == nil {
		t.Error("no error when the second leaf can't be signed")
	}
	if authority.twin(second) == served || authority.twin(first) != served {
		t.Error("a failure changes what is served")
	}
}
