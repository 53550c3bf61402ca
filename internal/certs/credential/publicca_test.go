package credential

import (
	"crypto/x509"
	"math/big"
	"testing"

	"mtls.egress/webhook/test/pki"
)

func TestTheIssuerIsReviewed(t *testing.T) {
	template := func(name string, serial int64) pki.Template {
		return pki.Template{
			Subject: pki.Client(name).Subject, SerialNumber: big.NewInt(serial), IsCA: true, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	public, private := pki.SelfSigned(t, template("Public Root", 1)), pki.SelfSigned(t, template("Private Root", 2))
	issuing := &pki.CA{Pair: public.Issue(t, template("Public Issuing", 3))}
	roots := x509.NewCertPool()
	roots.AddCert(public.Certificate)
	leaf := pki.Client("orders")
	leaf.SerialNumber = big.NewInt(0x10)
	tests := map[string]struct {
		chain  []*x509.Certificate
		public bool
	}{
		"issued by a public root": {[]*x509.Certificate{public.Issue(t, leaf).Certificate}, true},
		"issued by an intermediate in the chain": {
			[]*x509.Certificate{issuing.Issue(t, leaf).Certificate, issuing.Certificate}, true,
		},
		"with the root in the chain": {
			[]*x509.Certificate{issuing.Issue(t, leaf).Certificate, issuing.Certificate, public.Certificate}, true,
		},
		"issued by an intermediate that is missing": {[]*x509.Certificate{issuing.Issue(t, leaf).Certificate}, false},
		"issued by a private root":                  {[]*x509.Certificate{private.Issue(t, leaf).Certificate}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			findings := reviewIssuer(roots, test.chain)
			if got := len(findings) == 1 && findings[0].Reason == PublicCA; got != test.public {
				t.Errorf("%+v, want public: %t", findings, test.public)
			}
		})
	}
}

// TestThePublicCAsAreMozillas checks that the pool has the roots of the bundle.
func TestThePublicCAsAreMozillas(t *testing.T) {
	if roots := len(publicCAs().Subjects()); roots < 100 { //nolint:staticcheck // not a pool of the system
		t.Errorf("%d roots, want at least 100", roots)
	}
}
