package policy

import (
	"fmt"

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

// EndpointProblems returns the problems with the endpoints of a target. An endpoint with a name of
// the cluster must be in AllowedEndpoints. All other names are those of external hosts.
func (c Cluster) EndpointProblems(endpoints []egress.Endpoint) []EndpointProblem {
	var problems []EndpointProblem
	for _, endpoint := range endpoints {
		if wrong := endpoint.Problem(c.Sinkhole); wrong != "" {
			problems = append(problems, EndpointProblem{Message: fmt.Sprintf("the endpoint %s %s", endpoint, wrong)})
			continue
		}
		if !c.answers(endpoint.Address) {
			continue
		}
		if _, ok := match(c.AllowedEndpoints, endpoint.Address); ok {
			continue
		}
		problems = append(problems, EndpointProblem{NotAllowed: true, Message: fmt.Sprintf(
			"the endpoint %s is in the cluster, and no entry of policy.allowedEndpoints in the chart's values matches it; "+
				"a cluster administrator can add %s there", endpoint, endpoint.Address)})
	}
	return problems
}
