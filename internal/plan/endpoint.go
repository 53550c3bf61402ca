package plan

import (
	"strings"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/policy"
)

// closedByEndpoints closes the plan if an endpoint isn't allowed or can't be a partner's. The other
// endpoints aren't used either, so that a target doesn't silently take another way than it asks
// for.
func (p Plan) closedByEndpoints(problems []policy.EndpointProblem) Plan {
	if len(problems) == 0 {
		return p
	}
	p.Closed = true
	reason, why := EndpointReason(problems)
	p.Programmed = False(reason, "the target is closed, and calls on its route get 503 from the sidecar: "+why)
	return p
}

// EndpointReason returns the reason of a condition for the problems of endpoints, and a sentence
// with all of them.
func EndpointReason(problems []policy.EndpointProblem) (reason, why string) {
	reason = ReasonEndpointInvalid
	messages := make([]string, len(problems))
	for n, problem := range problems {
		messages[n] = problem.Message
		if problem.NotAllowed {
			reason = ReasonEndpointNotAllowed
		}
	}
	return reason, strings.Join(messages, "; ")
}

// Way returns where sidecars connect to in place of the host, as a part of a sentence, or "" if
// that is the host.
func Way(t egress.Target) string {
	if len(t.Endpoints) == 0 {
		return ""
	}
	preferred, backup := t.Ways()
	text := listed(preferred)
	if len(backup) > 0 {
		text += ", or " + listed(backup) + " while none of them can be reached"
	}
	return text
}

func listed(endpoints []egress.Endpoint) string {
	texts := make([]string, len(endpoints))
	for n, endpoint := range endpoints {
		texts[n] = endpoint.String()
	}
	return strings.Join(texts, ", ")
}
