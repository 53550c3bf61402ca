package verify

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/test/pki"
)

// TestNamesAreComparedAsEnvoyDoes has the rules of Envoy's dnsNameMatch and labelWildcardMatch
// (https://github.com/envoyproxy/envoy/blob/main/source/common/tls/utility.cc), and names of other
// types.
func TestNamesAreComparedAsEnvoyDoes(t *testing.T) {
	type certificate = pki.Template
	dns := func(names ...string) certificate { return certificate{DNSNames: names} }
	spiffe := &url.URL{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/a/sa/b"}
	tests := map[string]struct {
		name        string
		certificate certificate
		want        bool
	}{
		"the same":                             {name: "lyft.com", certificate: dns("lyft.com"), want: true},
		"another case in the certificate":      {name: "lyft.com", certificate: dns("LyFt.CoM"), want: true},
		"another case in the name":             {name: "LYFT.com", certificate: dns("lyft.com"), want: true},
		"one of several":                       {name: "lyft.com", certificate: dns("example.com", "lyft.com"), want: true},
		"a wildcard for a label":               {name: "a.lyft.com", certificate: dns("*.lyft.com"), want: true},
		"a wildcard for a label, other case":   {name: "a.LYFT.com", certificate: dns("*.lyft.COM"), want: true},
		"a wildcard does not match no label":   {name: "lyft.com", certificate: dns("*.lyft.com")},
		"a wildcard does not match two labels": {name: "a.b.lyft.com", certificate: dns("*.lyft.com")},
		"a wildcard as the start of a label":   {name: "foo.lyft.com", certificate: dns("*oo.lyft.com"), want: true},
		"a wildcard as the end of a label":     {name: "foo.lyft.com", certificate: dns("f*.lyft.com"), want: true},
		"a wildcard within a label":            {name: "foo.lyft.com", certificate: dns("f*o.lyft.com"), want: true},
		"a wildcard for nothing":               {name: "foo.lyft.com", certificate: dns("foo*.lyft.com"), want: true},
		"a label shorter than its pattern":     {name: "fo.lyft.com", certificate: dns("fo*o.lyft.com")},
		"two wildcards in a label":             {name: "foo.lyft.com", certificate: dns("*o*.lyft.com")},
		"a wildcard in an international name":  {name: "xn--foo.lyft.com", certificate: dns("xn--*.lyft.com")},
		"a wildcard in the second label":       {name: "a.lyft.com", certificate: dns("a.*.com")},
		"wildcards in two labels":              {name: "a.lyft.com", certificate: dns("*.*.com")},
		"only a wildcard":                      {name: "com", certificate: dns("*")},
		"a wildcard as the expected name":      {name: "*.lyft.com", certificate: dns("*.lyft.com"), want: true},
		"another domain":                       {name: "lyft.com", certificate: dns("lyft.org")},
		"no name":                              {name: "lyft.com"},
		"a URI": {
			name: spiffe.String(), certificate: certificate{URIs: []*url.URL{spiffe}}, want: true,
		},
		"an IP address": {
			name: "192.0.2.1", certificate: certificate{IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}}, want: true,
		},
		"an email address": {
			name: "a@lyft.com", certificate: certificate{EmailAddresses: []string{"a@lyft.com"}}, want: true,
		},
	}
	ca := pki.NewCA(t, "CA")
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := carries(ca.Issue(t, test.certificate).Certificate, test.name); got != test.want {
				t.Errorf("%t, want %t", got, test.want)
			}
		})
	}
}

// TestACommonNameIsNoName checks that only subject alternative names count, as in Envoy and
// browsers.
func TestACommonNameIsNoName(t *testing.T) {
	ca := pki.NewCA(t, "CA")
	template := pki.Server()
	template.Subject.CommonName = "external.system.com"
	chain := ca.Issue(t, template).Certificate
	got := verify(
		[]*x509.Certificate{chain},
		ca.Pool(),
		[]string{"external.system.com"},
		time.Date(2026, time.July, 1, 0, 0, 0, 0, time.UTC),
	)
	want := []Problem{
		{
			ServerNameMismatch,
			`the server's certificate is for no name, but must be for "external.system.com": another server answers there, ` +
				"or the EgressTarget must list its name in subjectAltNames",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestMessagesOfWhatIsHardToMeet covers alerts that no server of the other tests sends.
func TestMessagesOfWhatIsHardToMeet(t *testing.T) {
	after := func(alert tls.AlertError) Observation {
		return Observation{
			Host:      "external.system.com",
			Port:      443,
			Address:   "192.0.2.1:443",
			Failure:   Alerted,
			Alert:     alert,
			Asked:     &Asked{KeyAccepted: true},
			Presented: true,
		}
	}
	tests := map[string]struct {
		observation Observation
		want        Outcome
	}{
		"a revoked certificate": {
			observation: after(44),
			want: Outcome{
				Reason: ClientCertificateRefused,
				Message: "the server at 192.0.2.1:443 refused our certificate with the alert 44 (revoked certificate): its " +
					"issuer has revoked it; ask for a new one; " +
					"it names no acceptable CAs",
			},
		},
		"a connection that takes too long": {
			observation: Observation{Host: "external.system.com", Port: 443, Failure: TimedOut, Timeout: DefaultTimeout},
			want: Outcome{
				Reason: ProbeTimedOut,
				Message: "the controller can't connect to external.system.com:443 within 10s: check " +
					"the port, firewalls and NetworkPolicies",
			},
		},
		"CAs that the server names by the thousand": {
			observation: Observation{
				Address: "192.0.2.1:443", Complete: true,
				Asked:     &Asked{KeyAccepted: true, AcceptedCAs: many(1000), Issuers: []string{"CN=\x1b[2J"}},
				Presented: true, Answer: Finished, Version: tls.VersionTLS12,
				Server: &Server{DaysLeft: 1}, Matched: "a.b", OursDaysLeft: 2,
			},
			want: Outcome{
				Reason: IssuerNotNamed,
				Message: "the server at 192.0.2.1:443 asked for a client certificate and accepted ours; its own is for \"a.b\" " +
					"and chains to the expected CA; TLS 1.2; the server's certificate expires on 0001-01-01T00:00:00Z (1 day left), " +
					"ours on 0001-01-01T00:00:00Z (2 days left); our issuer (\"CN=\uFFFD[2J\") is not among the CAs that it names " +
					"(\"CN=x\", \"CN=x\", \"CN=x\", \"CN=x\", \"CN=x\" and 995 more), but it accepts ours: servers such as nginx " +
					"do, and reject the first request instead, so ask the partner whether it trusts our issuer",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, Evaluate(test.observation)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func many(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = "CN=x"
	}
	return names
}
