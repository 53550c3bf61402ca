package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

// EndpointProblem is an endpoint to which a target may not lead.
type EndpointProblem struct {
	// NotAllowed reports whether an administrator can allow the endpoint. If not, the address is
	// wrong.
	NotAllowed bool
	// Message has the endpoint and what to do.
	Message string
}

// ParseEndpoints parses entries of AllowedEndpoints: patterns of hosts, and IP addresses.
func ParseEndpoints(texts []string, path *field.Path) ([]Pattern, field.ErrorList) {
	var addresses []Pattern
	var hosts []string
	for _, text := range texts {
		if address, err := netip.ParseAddr(text); err == nil {
			addresses = append(addresses, Pattern{labels: strings.Split(address.String(), ".")})
			continue
		}
		hosts = append(hosts, text)
	}
	patterns, errs := ParsePatterns(hosts, path)
	return append(patterns, addresses...), errs
}

// EndpointProblems returns the problems with the endpoints of the target of host. An endpoint with
// a name of the cluster must be in AllowedEndpoints. Where a namespace may not reach every host,
// so must any other that is neither the host itself nor a host that it may reach. Otherwise a
// target would lead past the lists.
func (r Rules) EndpointProblems(host string, endpoints []egress.Endpoint) []EndpointProblem {
	var problems []EndpointProblem
	for _, endpoint := range endpoints {
		wrong := endpoint.Problem(r.Cluster.Sinkhole)
		_, allowed := match(r.Cluster.AllowedEndpoints, endpoint.Address)
		switch {
		case wrong != "":
			problems = append(problems, EndpointProblem{Message: fmt.Sprintf("the endpoint %s %s", endpoint, wrong)})
		case allowed, endpoint.Address == host:
		case r.Cluster.answers(endpoint.Address):
			problems = append(problems, EndpointProblem{NotAllowed: true, Message: fmt.Sprintf(
				"the endpoint %s is in the cluster, and no entry of policy.allowedEndpoints in the chart's values matches it; "+
					"a cluster administrator can add %s there", endpoint, endpoint.Address)})
		case !r.reaches(endpoint):
			problems = append(problems, EndpointProblem{NotAllowed: true, Message: fmt.Sprintf(
				"the namespace may not reach the endpoint %s, and no entry of policy.allowedEndpoints in the chart's values "+
					"matches it; a cluster administrator can add %s there", endpoint, endpoint.Address)})
		}
	}
	return problems
}

// reaches reports whether the namespace may reach an endpoint outside the cluster as a host. No
// list of hosts names an IP address.
func (r Rules) reaches(endpoint egress.Endpoint) bool {
	if _, ok := endpoint.IP(); ok {
		return !r.Namespace.Annotated && r.Cluster.Other == OtherAllow
	}
	return r.Decide(endpoint.Address).Allowed
}
