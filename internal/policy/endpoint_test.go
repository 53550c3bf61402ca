package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/policy"
)

func TestEndpointProblems(t *testing.T) {
	inCluster := func(address string) policy.EndpointProblem {
		return policy.EndpointProblem{NotAllowed: true, Message: "the endpoint " + address + ":443 is in the cluster, and " +
			"no entry of policy.allowedEndpoints in the chart's values matches it; a cluster administrator can add " + address +
			" there"}
	}
	const gateway = "egress-gateway.istio-egress.svc.cluster.local"
	tests := map[string]struct {
		domain    string
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
			cluster := policy.Cluster{Domain: test.domain, AllowedEndpoints: patterns(t, test.allowed)}
			var endpoints []egress.Endpoint
			for _, address := range test.addresses {
				endpoints = append(endpoints, egress.Endpoint{Address: address, Port: 443})
			}
			if diff := cmp.Diff(test.want, cluster.EndpointProblems(endpoints)); diff != "" {
				t.Error("(-want +got):\n" + diff)
			}
		})
	}
}
