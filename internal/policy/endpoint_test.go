package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/policy"
)

func TestEndpointProblems(t *testing.T) {
	inCluster := func(address string) policy.EndpointProblem {
		return policy.EndpointProblem{NotAllowed: true, Message: "the endpoint " + address + ":443 is in the cluster, and " +
			"no entry of policy.allowedEndpoints in the chart's values matches it; a cluster administrator can add " + address +
			" there"}
	}
	outside := func(address string) policy.EndpointProblem {
		return policy.EndpointProblem{NotAllowed: true, Message: "the namespace may not reach the endpoint " + address +
			":443, and no entry of policy.allowedEndpoints in the chart's values matches it; a cluster administrator can add " +
			address + " there"}
	}
	const gateway = "egress-gateway.istio-egress.svc.cluster.local"
	tests := map[string]struct {
		domain    string
		denied    bool
		namespace []string
		allowed   []string
		addresses []string
		want      []policy.EndpointProblem
	}{
		"a target without endpoints": {},
		"endpoints outside the cluster need no entry": {
			addresses: []string{"relay.example", "10.20.30.40", "2001:db8::1", "external.system.com"},
		},
		"by default no name of the cluster is allowed": {
			addresses: []string{gateway, "relay.example", "cluster.local", "relay.proxies.svc"},
			want: []policy.EndpointProblem{
				inCluster(gateway), inCluster("cluster.local"), inCluster("relay.proxies.svc"),
			},
		},
		"an entry allows its name and no other": {
			allowed: []string{gateway}, addresses: []string{gateway, "other.istio-egress.svc.cluster.local"},
			want: []policy.EndpointProblem{inCluster("other.istio-egress.svc.cluster.local")},
		},
		"a pattern allows a namespace": {
			allowed: []string{"*.istio-egress.svc.cluster.local"}, addresses: []string{gateway},
		},
		"where other hosts are denied, so are relays, but for the host itself and what the lists allow": {
			denied:    true,
			addresses: []string{"api.bank.example", "relay.example", "x.partner.example", "10.20.30.40"},
			want:      []policy.EndpointProblem{outside("relay.example"), outside("10.20.30.40")},
		},
		"an entry allows a relay and an address": {
			denied: true, allowed: []string{"relay.example", "10.20.30.40", "2001:DB8::1"},
			addresses: []string{"relay.example", "10.20.30.40", "2001:db8::1", "10.20.30.41"},
			want:      []policy.EndpointProblem{outside("10.20.30.41")},
		},
		"the list of a namespace counts for relays too": {
			namespace: []string{"api.bank.example", "relay.example"},
			addresses: []string{"relay.example", "evil.example", "10.1.2.3"},
			want:      []policy.EndpointProblem{outside("evil.example"), outside("10.1.2.3")},
		},
		"an address with colons that is no IP address": {
			addresses: []string{"1:2:3"},
			want: []policy.EndpointProblem{{Message: "the endpoint [1:2:3]:443 has an address that is neither a name nor " +
				"an IP address; write a port into the field port"}},
		},
		"the cluster has another domain": {
			domain: "k8s.example", addresses: []string{gateway, "relay.proxies.svc.k8s.example"},
			want: []policy.EndpointProblem{inCluster("relay.proxies.svc.k8s.example")},
		},
		"an address that a partner can't have can't be allowed": {
			allowed: []string{"*"}, addresses: []string{"127.0.0.1", gateway},
			want: []policy.EndpointProblem{{Message: "the endpoint 127.0.0.1:443 is an unspecified, loopback, link-local or " +
				"multicast address; write an address at which the partner, a relay or a gateway answers"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			allowed, errs := policy.ParseEndpoints(test.allowed, field.NewPath("allowed"))
			if len(errs) > 0 {
				t.Fatal(errs)
			}
			rules := policy.Rules{Cluster: policy.Cluster{
				Allowed: patterns(t, []string{"*.partner.example"}), Other: policy.OtherAllow,
				Domain: test.domain, AllowedEndpoints: allowed,
			}}
			if test.denied {
				rules.Cluster.Other = policy.OtherDeny
			}
			if test.namespace != nil {
				rules.Namespace = policy.Namespace{Annotated: true, Allowed: patterns(t, test.namespace)}
			}
			var endpoints []egress.Endpoint
			for _, address := range test.addresses {
				endpoints = append(endpoints, egress.Endpoint{Address: address, Port: 443})
			}
			if diff := cmp.Diff(test.want, rules.EndpointProblems("api.bank.example", endpoints)); diff != "" {
				t.Error("(-want +got):\n" + diff)
			}
		})
	}
}
