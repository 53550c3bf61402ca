package credential_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
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
	direct := root.Issue(t, pki.Server("external.system.com"))
	namesake := pki.NewCA(t, "Root")
	ended := pki.SelfSigned(t, pki.Template{Subject: pkix.Name{CommonName: "Ended Root"}, IsCA: true,
		KeyUsage: x509.KeyUsageCertSign, NotAfter: pki.Epoch().AddDate(1, 0, 0)})
	late := ended.Issue(t, pki.Server("external.system.com"))
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
		// Found are the sources that have the CA. Namesakes are the files that have another one of its
		// name.
		Found, Namesakes []string
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
			want: result{"CN=Root", "", credential.TrustRoot, []string{credential.SourceChain}, nil},
		},
		"the server sends the root in disorder, and the machine trusts it": {
			sent: same(server, root.Pair, middle.Pair, issuing.Pair), system: pool(root.Pair, other.Pair),
			want: result{"CN=Root", "", credential.TrustRoot, []string{credential.SourceChain, credential.SourceSystem}, nil},
		},
		"the machine trusts a root that isn't sent": {
			sent: same(server, issuing.Pair, middle.Pair), system: pool(root.Pair),
			want: result{"CN=Root", "", credential.TrustRoot, []string{credential.SourceSystem}, nil},
		},
		"a file has a root that isn't sent": {
			sent: same(server, issuing.Pair, middle.Pair), file: same(other.Pair, root.Pair), system: pool(other.Pair),
			want: result{"CN=Root", "", credential.TrustRoot, []string{file}, nil},
		},
		"a cross certificate of a root that the machine trusts by itself": {
			sent: same(server, issuing.Pair, middle.Pair, cross), system: pool(root.Pair),
			want: result{"CN=Root", "", credential.TrustRoot, []string{credential.SourceSystem}, nil},
		},
		"a certificate that expired has a CA all the same": {
			sent: same(root.Issue(t, expired)), system: pool(root.Pair),
			want: result{"CN=Root", "", credential.TrustRoot, []string{credential.SourceSystem}, nil},
		},
		"nobody has the root": {
			sent: same(server, issuing.Pair, middle.Pair), system: pool(other.Pair),
			want: result{"CN=Middle", "CN=Root", credential.TrustIntermediate, []string{credential.SourceChain}, nil},
		},
		"the server sends a root that the file doesn't have": {
			sent: same(server, issuing.Pair, middle.Pair, root.Pair), file: same(other.Pair), system: pool(root.Pair),
			want: result{"", "CN=Root", "", nil, nil},
		},
		"the server sends a root, and the file has one of the same name": {
			sent: same(server, issuing.Pair, middle.Pair, root.Pair), file: same(other.Pair, namesake.Pair),
			want: result{"", "CN=Root", "", nil, []string{file}},
		},
		"the file has an intermediate of the same name": {
			sent: same(server, issuing.Pair), file: same(namesake.Intermediate(t, "Middle").Pair),
			want: result{"", "CN=Middle", "", nil, []string{file}},
		},
		"the file has both roots of the same name": {
			sent: same(server, issuing.Pair, middle.Pair, root.Pair), file: same(namesake.Pair, root.Pair),
			want: result{"CN=Root", "", credential.TrustRoot, []string{credential.SourceChain, file}, nil},
		},
		"the file has an intermediate of a root that is sent": {
			sent: same(server, issuing.Pair, middle.Pair, root.Pair), file: same(issuing.Pair, middle.Pair),
			want: result{"CN=Middle", "", credential.TrustIntermediate, []string{credential.SourceChain, file}, nil},
		},
		"the file has a root that another one signed for the server": {
			sent: same(direct, cross), file: same(root.Pair),
			want: result{"CN=Root", "", credential.TrustRoot, []string{file}, nil},
		},
		"the file has the older root, and the server sends both ways": {
			sent: same(direct, root.Pair, cross), file: same(other.Pair),
			want: result{"CN=Other Root", "", credential.TrustRoot, []string{file}, nil},
		},
		"the file has the certificate of the server and its root": {
			sent: same(direct), file: same(direct, root.Pair),
			want: result{"CN=Root", "", credential.TrustRoot, []string{file}, nil},
		},
		"the file has a root that expired": {
			sent: same(late), file: same(ended.Pair),
			want: result{"CN=Ended Root", "", credential.TrustRoot, []string{file}, nil},
		},
		"a file has an intermediate that isn't sent": {
			sent: same(server, issuing.Pair), file: same(middle.Pair, root.Pair),
			want: result{"CN=Middle", "", credential.TrustUnsent, []string{file}, nil},
		},
		"the certificate of the server alone": {
			sent: same(server), want: result{"", "CN=Issuing", "", nil, nil},
		},
		"a certificate that signed itself": {
			sent: same(pki.SelfSigned(t, pki.Template{Subject: root.Certificate.Subject}).Pair),
			want: result{"CN=Root", "", credential.TrustServer, []string{credential.SourceChain}, nil},
		},
		"an issuer that only has the name": {
			sent: same(server, pki.NewCA(t, "Issuing").Pair), want: result{"", "CN=Issuing", "", nil, nil},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var files []credential.Source
			if test.file != nil {
				files = []credential.Source{{Name: file, Certificates: test.file}}
			}
			presented, err := credential.Present(test.sent, files, test.system, now())
			if err != nil {
				t.Fatal(err)
			}
			got := result{Missing: presented.MissingIssuer, Kind: presented.Kind, Namesakes: presented.Namesakes}
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
