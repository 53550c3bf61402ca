package egress_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

func TestEndpointProblem(t *testing.T) {
	const (
		instead  = "; write an address at which the partner, a relay or a gateway answers"
		local    = "is an unspecified, loopback, link-local or multicast address" + instead
		sinkhole = "is in the range of the sinkhole addresses, where calls are dropped" + instead
	)
	tests := map[string]struct{ address, want string }{
		"a name":                                    {"relay.example", ""},
		"a private address":                         {"10.20.30.40", ""},
		"a public IPv6 address":                     {"2001:db8::1", ""},
		"a unique local IPv6 address":               {"fd00::1", ""},
		"the first sinkhole address":                {"240.0.0.0", sinkhole},
		"the last sinkhole address":                 {"255.255.255.255", sinkhole},
		"a sinkhole address as IPv6":                {"::ffff:250.1.2.3", sinkhole},
		"the address below the sinkholes":           {"239.255.255.255", local},
		"loopback":                                  {"127.0.0.1", local},
		"loopback as IPv6 in another notation":      {"::ffff:7f00:1", local},
		"IPv6 loopback":                             {"0:0:0:0:0:0:0:1", local},
		"the unspecified address":                   {"0.0.0.0", local},
		"the metadata service, which is link-local": {"169.254.169.254", local},
		"an IPv6 link-local address":                {"fe80::1", local},
		"an IPv6 multicast address":                 {"ff02::1", local},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			endpoint := egress.Endpoint{Address: test.address, Port: 443}
			if diff := cmp.Diff(test.want, endpoint.Problem(egress.Sinkhole{})); diff != "" {
				t.Error("(-want +got):\n" + diff)
			}
		})
	}
}

func TestEndpointsByPriority(t *testing.T) {
	tests := map[string]struct {
		spec v1alpha1.EgressTargetSpec
		want []string
	}{
		"without endpoints it is the host": {
			v1alpha1.EgressTargetSpec{Port: 8443}, []string{"external.system.com:8443"},
		},
		"the port is that of the target unless the endpoint has its own": {
			v1alpha1.EgressTargetSpec{
				Port: 8443, Endpoints: []v1alpha1.Endpoint{{Address: "relay.example"}, {Address: "2001:db8::1", Port: 9443}},
			},
			[]string{"relay.example:8443", "[2001:db8::1]:9443"},
		},
		"the preferred ones come first, each group in its order": {
			v1alpha1.EgressTargetSpec{Endpoints: []v1alpha1.Endpoint{
				{Address: "d.example", Priority: 1}, {Address: "b.example"}, {Address: "c.example", Priority: 1},
				{Address: "a.example"},
			}},
			[]string{"b.example:443", "a.example:443", "d.example:443", "c.example:443"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			egressTarget := &v1alpha1.EgressTarget{Spec: test.spec}
			target := egress.FromEgressTarget("project", "external.system.com", egressTarget, egress.Sinkhole{})
			var got []string
			for _, endpoint := range target.EndpointsByPriority() {
				got = append(got, endpoint.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error("(-want +got):\n" + diff)
			}
		})
	}
}
