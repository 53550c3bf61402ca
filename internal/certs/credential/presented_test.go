package credential_test

import (
	"crypto/x509"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/test/pki"
)

func TestTheCAToTrustIsTheRootThatASourceHas(t *testing.T) {
	root := pki.NewCA(t, "Root")
	middle := root.Intermediate(t, "Middle")
	issuing := middle.Intermediate(t, "Issuing")
	server := issuing.Issue(t, pki.Server("external.system.com"))
	expired := pki.Server("external.system.com")
	expired.NotAfter = pki.Epoch().AddDate(1, 0, 0)
	// The root before it was self-signed by its own key: the server still sends what another root
	// signed for it.
	other := pki.NewCA(t, "Other Root")
	cross := other.Issue(t, pki.Template{Subject: root.Certificate.Subject, Key: root.Key, IsCA: true,
		KeyUsage: x509.KeyUsageCertSign})
	same := func(pairs ...pki.Pair) (certificates []*x509.Certificate) {
		for _, pair := range pairs {
			certificates = append(certificates, pair.Certificate)
		}
		return certificates
	}
	pool := func(pairs ...pki.Pair) *x509.CertPool {
		pool := x509.NewCertPool()
		for _, pair := range pairs {
			pool.AddCert(pair.Certificate)
		}
		return pool
	}
	type result struct {
		Trust, Missing string
		Kind           credential.TrustKind
		// Found are the sources that have the CA.
		Found []string
	}
	const file = "ca.pem"
	tests := map[string]struct {
		sent   []*x509.Certificate
		file   []*x509.Certificate
		system *x509.CertPool
		want   result
	}{
		"the server sends the root": {
			sent: same(server, issuing.Pair, middle.Pair, root.Pair),
			want: result{"CN=Root", "", credential.TrustRoot, []string{credential.SourceChain}},
		},
		"the server sends the root in disorder, and the machine trusts it": {
			sent: same(server, root.Pair, middle.Pair, issuing.Pair), system: pool(root.Pair, other.Pair),
			want: result{"CN=Root", "", credential.TrustRoot, []string{credential.SourceChain, credential.SourceSystem}},
		},
		"the machine trusts a root that isn't sent": {
			sent: same(server, issuing.Pair, middle.Pair), system: pool(root.Pair),
			want: result{"CN=Root", "", credential.TrustRoot, []string{credential.SourceSystem}},
		},
		"a file has a root that isn't sent": {
			sent: same(server, issuing.Pair, middle.Pair), file: same(other.Pair, root.Pair), system: pool(other.Pair),
			want: result{"CN=Root", "", credential.TrustRoot, []string{file}},
		},
		"a cross certificate of a root that the machine trusts by itself": {
			sent: same(server, issuing.Pair, middle.Pair, cross), system: pool(root.Pair),
			want: result{"CN=Root", "", credential.TrustRoot, []string{credential.SourceSystem}},
		},
		"a certificate that expired has a CA all the same": {
			sent: same(root.Issue(t, expired)), system: pool(root.Pair),
			want: result{"CN=Root", "", credential.TrustRoot, []string{credential.SourceSystem}},
		},
		"nobody has the root": {
			sent: same(server, issuing.Pair, middle.Pair), file: same(other.Pair), system: pool(other.Pair),
			want: result{"CN=Middle", "CN=Root", credential.TrustIntermediate, []string{credential.SourceChain}},
		},
		"a file has an intermediate that isn't sent": {
			sent: same(server, issuing.Pair), file: same(middle.Pair, root.Pair),
			want: result{"CN=Middle", "", credential.TrustUnsent, []string{file}},
		},
		"the certificate of the server alone": {
			sent: same(server), want: result{"", "CN=Issuing", "", nil},
		},
		"a certificate that signed itself": {
			sent: same(pki.SelfSigned(t, pki.Template{Subject: root.Certificate.Subject}).Pair),
			want: result{"CN=Root", "", credential.TrustServer, []string{credential.SourceChain}},
		},
		"an issuer that only has the name": {
			sent: same(server, pki.NewCA(t, "Issuing").Pair), want: result{"", "CN=Issuing", "", nil},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			presented, err := credential.Present(test.sent, []credential.Source{{Name: file, Certificates: test.file}},
				test.system, now())
			if err != nil {
				t.Fatal(err)
			}
			got := result{Missing: presented.MissingIssuer, Kind: presented.Kind}
			if presented.Trust != nil {
				got.Trust = presented.Trust.Subject
			}
			for _, source := range presented.Sources {
				if source.Found {
					got.Found = append(got.Found, source.Source)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(presented.Chain) != len(test.sent) {
				t.Errorf("%d of %d certificates are shown", len(presented.Chain), len(test.sent))
			}
		})
	}
	t.Run("no certificate, and too many", func(t *testing.T) {
		for _, sent := range [][]*x509.Certificate{nil, make([]*x509.Certificate, 101)} {
			if presented, err := credential.Present(sent, nil, nil, now()); err == nil {
				t.Errorf("%d certificates: %+v", len(sent), presented)
			}
		}
	})
}
