package verify_test

import (
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/verify"
	"mtls.egress/webhook/test/nameserver"
)

func TestNamesAreResolvedAndAddressesRefused(t *testing.T) {
	p := newParties(t)
	const cannot = " resolves to an address that a partner can't have: "
	const unresolved = "the controller can't resolve the name external.system.com: "
	const spelling = "; check the spelling and the cluster's DNS"
	refusedFor := func(why string) verify.Outcome {
		return verify.Outcome{
			Reason:  verify.AddressRefused,
			Message: "the name external.system.com" + cannot + why + "; fix it in DNS",
		}
	}

	tests := map[string]struct {
		records  map[string][]string
		loopback bool
		want     verify.Outcome
	}{
		"an address": {
			records: map[string][]string{host + ".": {"127.0.0.1"}}, loopback: true,
			want: verify.Outcome{
				Verified: true, Reason: verify.Verified,
				Message: "the server at ADDRESS asked for a client certificate and accepted ours; " + own + "TLS 1.3" +
					ends + "; " + only,
			},
		},
		"the second address, as the first is refused": {
			records: map[string][]string{host + ".": {"169.254.169.254", "127.0.0.1"}}, loopback: true,
			want: verify.Outcome{
				Verified: true, Reason: verify.Verified,
				Message: "the server at ADDRESS asked for a client certificate and accepted ours; " + own + "TLS 1.3" +
					ends + "; " + only,
			},
		},
		"a name that does not exist": {
			records: map[string][]string{"external.system.com.default.svc.cluster.local.": {"127.0.0.1"}}, loopback: true,
			want: verify.Outcome{Reason: verify.NameNotResolved, Message: unresolved + "no addresses found" + spelling},
		},
		"a DNS server that fails": {
			records: map[string][]string{host + ".": nil}, loopback: true,
			want: verify.Outcome{Reason: verify.NameNotResolved, Message: unresolved + "server misbehaving" + spelling},
		},
		"loopback": {
			records: map[string][]string{host + ".": {"127.0.0.1"}}, want: refusedFor("127.0.0.1 is a loopback address"),
		},
		"loopback in IPv6": {
			records: map[string][]string{host + ".": {"::1"}}, want: refusedFor("::1 is a loopback address"),
		},
		"loopback as a mapped address": {
			records: map[string][]string{host + ".": {"::ffff:127.0.0.1"}},
			want:    refusedFor("127.0.0.1 is a loopback address"),
		},
		"a cloud's metadata": {
			records: map[string][]string{host + ".": {"169.254.169.254"}}, loopback: true,
			want: refusedFor("169.254.169.254 is a link-local address"),
		},
		"link-local in IPv6": {
			records:  map[string][]string{host + ".": {"fe80::1"}},
			loopback: true,
			want:     refusedFor("fe80::1 is a link-local address"),
		},
		"no address": {
			records:  map[string][]string{host + ".": {"0.0.0.0"}},
			loopback: true,
			want:     refusedFor("0.0.0.0 is an unspecified address"),
		},
		"this network": {
			records:  map[string][]string{host + ".": {"0.1.2.3"}},
			loopback: true,
			want:     refusedFor("0.1.2.3 is an unspecified address"),
		},
		"no address in IPv6": {
			records:  map[string][]string{host + ".": {"::"}},
			loopback: true,
			want:     refusedFor(":: is an unspecified address"),
		},
		"multicast": {
			records:  map[string][]string{host + ".": {"239.1.2.3"}},
			loopback: true,
			want:     refusedFor("239.1.2.3 is a multicast address"),
		},
		"multicast in IPv6": {
			records:  map[string][]string{host + ".": {"ff02::1"}},
			loopback: true,
			want:     refusedFor("ff02::1 is a multicast address"),
		},
		"a sinkhole address": {
			records:  map[string][]string{host + ".": {"241.0.0.1"}},
			loopback: true,
			want:     refusedFor("241.0.0.1 is a sinkhole address (240.0.0.0/4)"),
		},
		"broadcast": {
			records:  map[string][]string{host + ".": {"255.255.255.255"}},
			loopback: true,
			want:     refusedFor("255.255.255.255 is a sinkhole address (240.0.0.0/4)"),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, _ := serve(t, p.mutual())
			request := p.request(t, address)
			request.Host = host
			probing := prober()
			probing.AllowLoopback, probing.Resolver = test.loopback, nameserver.Resolver(t, test.records)
			if diff := cmp.Diff(test.want, outcome(probing.Probe(t.Context(), request))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	p := newParties(t)
	listener := listen(t)
	_ = listener.Close()
	got := verify.Evaluate(prober().Probe(t.Context(), p.request(t, listener.Addr())))
	want := verify.Outcome{
		Reason: verify.Unreachable,
		Message: "the controller can't connect to " + listener.Addr().String() +
			": connection refused; check the port, firewalls and NetworkPolicies",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLoopbackIsRefusedBeforeAnythingIsSent runs a server that would notice a connection.
func TestLoopbackIsRefusedBeforeAnythingIsSent(t *testing.T) {
	p := newParties(t)
	address, visits := serve(t, p.mutual())
	probing := prober()
	probing.AllowLoopback = false
	if got := verify.Evaluate(probing.Probe(t.Context(), p.request(t, address))); got.Reason != verify.AddressRefused {
		t.Errorf("%+v", got)
	}
	// The server accepts its only connection from the test.
	connection, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = connection.Write([]byte("not TLS"))
	_ = connection.Close()
	if seen := <-visits; !strings.Contains(seen.End, "not look like a TLS handshake") {
		t.Errorf("the server had another visitor before: %+v", seen)
	}
}
