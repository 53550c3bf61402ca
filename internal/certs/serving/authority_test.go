package serving

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/test/pki"
)

func newAuthorityData(tb testing.TB, lifetime time.Duration, now time.Time) map[string][]byte {
	tb.Helper()
	data, err := newAuthority(lifetime, now)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func TestANewAuthorityIsUsableUntilItExpires(t *testing.T) {
	data := newAuthorityData(t, 3*time.Hour, moment())
	ca, err := authorityOf(data, moment().Add(3*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	certificate := ca.pair.Leaf
	key, isECDSA := certificate.PublicKey.(*ecdsa.PublicKey)
	if !isECDSA || key.Curve != elliptic.P256() {
		t.Errorf("a key of %s, want one of P-256", certificate.PublicKeyAlgorithm)
	}
	if !certificate.NotBefore.Equal(moment()) || !certificate.NotAfter.Equal(moment().Add(3*time.Hour)) ||
		certificate.Subject.CommonName != CACommonName {
		t.Errorf("%s from %s to %s", certificate.Subject, certificate.NotBefore, certificate.NotAfter)
	}
	if !bytes.Equal(ca.pem, data["ca.crt"]) {
		t.Error("the CA isn't that of the Secret")
	}
	if due := renewal(certificate); !due.Equal(moment().Add(2 * time.Hour)) {
		t.Errorf("due on %s, want after two thirds of its life", due)
	}
	want := "the CA expires on 2026-07-01T15:00:00Z"
	if _, err := authorityOf(data, moment().Add(3*time.Hour+time.Second)); err == nil || err.Error() != want {
		t.Errorf("got error %v, want %q", err, want)
	}
}

func TestAuthorityOfRejects(t *testing.T) {
	usable := newAuthorityData(t, time.Hour, moment())
	other := newAuthorityData(t, time.Hour, moment())
	server := pki.NewCA(t, "other").Issue(t, pki.Server("localhost"))
	for name, test := range map[string]struct {
		change map[string][]byte
		want   string
	}{
		"no CA":      {map[string][]byte{"ca.crt": nil}, "the Secret has no ca.crt"},
		"no key":     {map[string][]byte{"tls.key": {}}, "the Secret has no tls.key"},
		"another CA": {map[string][]byte{"ca.crt": other["ca.crt"]}, "ca.crt and tls.crt differ"},
		"another's key": {
			map[string][]byte{"tls.key": other["tls.key"]},
			"tls.crt and tls.key: tls: private key does not match public key",
		},
		"a certificate that isn't a CA": {
			secretData(server, server.CertPEM),
			"tls.crt is not a CA certificate",
		},
	} {
		t.Run(name, func(t *testing.T) {
			data := maps.Clone(usable)
			maps.Copy(data, test.change)
			if _, err := authorityOf(data, moment()); err == nil || err.Error() != test.want {
				t.Errorf("got error %v, want %q", err, test.want)
			}
		})
	}
}

func TestSign(t *testing.T) {
	type names struct {
		DNSNames    []string
		IPAddresses []string
	}
	for name, test := range map[string]struct {
		given []string
		want  names
	}{
		"names": {
			given: []string{"webhook.mtls-egress.svc", "localhost"},
			want:  names{DNSNames: []string{"webhook.mtls-egress.svc", "localhost"}},
		},
		"addresses of both families": {
			given: []string{"127.0.0.1", "::1"},
			want:  names{IPAddresses: []string{"127.0.0.1", "::1"}},
		},
		"both keep their order": {
			given: []string{"b", "10.0.0.2", "a", "10.0.0.1"},
			want:  names{DNSNames: []string{"b", "a"}, IPAddresses: []string{"10.0.0.2", "10.0.0.1"}},
		},
		"what only looks like an address is a name": {
			given: []string{"127.0.0.1.example.com", "127.0.0"},
			want:  names{DNSNames: []string{"127.0.0.1.example.com", "127.0.0"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			leaf := signed(t, newAuthorityData(t, time.Hour, moment()), test.given, time.Minute)
			got := names{DNSNames: leaf.DNSNames}
			for _, address := range leaf.IPAddresses {
				got.IPAddresses = append(got.IPAddresses, address.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("names differ (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSignWithTheCAOfAUser signs with CAs that a user may have written into the Secret.
func TestSignWithTheCAOfAUser(t *testing.T) {
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	factored, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"Ed25519": edwards, "RSA": factored} {
		t.Run(name, func(t *testing.T) {
			end := moment().Add(time.Hour)
			ca := pki.SelfSigned(t, pki.Template{
				Subject: pkix.Name{CommonName: "Corporate CA"}, IsCA: true, Key: key, NotBefore: moment(), NotAfter: end,
			})
			leaf := signed(t, secretData(ca.Pair, ca.CertPEM), []string{"localhost"}, 2*time.Hour)
			if !leaf.NotAfter.Equal(end) {
				t.Errorf("the leaf ends on %s, want the end of its CA", leaf.NotAfter)
			}
		})
	}
}

// signed returns a leaf of the CA in data, after it was verified for each name.
func signed(tb testing.TB, data map[string][]byte, names []string, lifetime time.Duration) *x509.Certificate {
	tb.Helper()
	ca, err := authorityOf(data, moment())
	if err != nil {
		tb.Fatal(err)
	}
	pair, err := ca.sign(names, lifetime, moment())
	if err != nil {
		tb.Fatal(err)
	}
	key, isECDSA := pair.Leaf.PublicKey.(*ecdsa.PublicKey)
	if !isECDSA || key.Curve != elliptic.P256() || !pair.PrivateKey.(*ecdsa.PrivateKey).PublicKey.Equal(key) {
		tb.Errorf("a leaf with a key of %s, want its own one of P-256", pair.Leaf.PublicKeyAlgorithm)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(data["ca.crt"])
	for _, name := range names {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: moment()}); err != nil {
			tb.Error(err)
		}
	}
	return pair.Leaf
}
