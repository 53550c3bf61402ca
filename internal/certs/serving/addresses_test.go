package serving

import (
	"crypto/x509"
	"net"
	"testing"

	cmtls "github.com/cert-manager/cert-manager/pkg/server/tls"
	"github.com/google/go-cmp/cmp"
)

// returned is an authority that returns the template unchanged.
type returned struct{ cmtls.Authority }

func (returned) Sign(template *x509.Certificate) (*x509.Certificate, error) { return template, nil }

func TestAddressesAreSignedAsAddresses(t *testing.T) {
	type names struct {
		DNSNames    []string
		IPAddresses []net.IP
	}
	tests := map[string]struct {
		given []string
		want  names
	}{
		"names stay names": {
			given: []string{"webhook.mtls-egress.svc", "localhost"},
			want:  names{DNSNames: []string{"webhook.mtls-egress.svc", "localhost"}},
		},
		"addresses of both families": {
			given: []string{"127.0.0.1", "::1"},
			want:  names{IPAddresses: []net.IP{net.ParseIP("127.0.0.1"), net.IPv6loopback}},
		},
		"both keep their order": {
			given: []string{"b", "10.0.0.2", "a", "10.0.0.1"},
			want: names{
				DNSNames:    []string{"b", "a"},
				IPAddresses: []net.IP{net.ParseIP("10.0.0.2"), net.ParseIP("10.0.0.1")},
			},
		},
		"what only looks like one is a name": {
			given: []string{"127.0.0.1.example.com", "127.0.0"},
			want:  names{DNSNames: []string{"127.0.0.1.example.com", "127.0.0"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			template := &x509.Certificate{DNSNames: test.given}
			leaf, err := addressAuthority{returned{}}.Sign(template)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, names{leaf.DNSNames, leaf.IPAddresses}); diff != "" {
				t.Errorf("names differ (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.given, template.DNSNames); diff != "" {
				t.Errorf("the template was changed (-before +after):\n%s", diff)
			}
		})
	}
}
