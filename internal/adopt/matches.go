package adopt

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	"k8s.io/apimachinery/pkg/labels"

	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/mesh"
)

// matchedPorts returns the app ports whose calls of sidecars can take the route.
func (s *set) matchedPorts(route *networking.HTTPRoute) []uint32 {
	if len(route.Match) == 0 {
		return s.appPorts()
	}
	var ports []uint32
	for _, match := range route.Match {
		if !s.concerns(match) {
			continue
		}
		if port := match.GetPort(); port != 0 {
			ports = append(ports, port)
		} else {
			ports = append(ports, s.appPorts()...)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// concerns reports whether calls of sidecars of the namespace to the host can match.
func (s *set) concerns(match *networking.HTTPMatchRequest) bool {
	authority, _, _ := strings.Cut(match.GetAuthority().GetExact(), ":")
	return (len(match.GetGateways()) == 0 || slices.Contains(match.GetGateways(), meshGateway)) &&
		(authority == "" || mesh.NormalHost(authority) == s.host) &&
		(match.GetSourceNamespace() == "" || s.namespace == "" || match.GetSourceNamespace() == s.namespace)
}

// matches returns the matches of the route that concern the calls on the app port.
func (s *set) matches() []*networking.HTTPMatchRequest {
	return slices.DeleteFunc(slices.Clone(s.calls.route.GetMatch()), func(match *networking.HTTPMatchRequest) bool {
		return !s.concerns(match) || match.GetPort() != 0 && match.GetPort() != s.calls.appPort
	})
}

// hasConditions reports whether calls of the workloads that the route selects can miss it.
func (s *set) hasConditions() bool {
	conditional := false
	for _, match := range s.matches() {
		switch {
		case s.isConditional(match):
			conditional = true
		case len(match.GetSourceLabels()) == 0:
			return false
		}
	}
	return conditional
}

// isConditional reports whether a match has conditions besides the port and the source.
func (s *set) isConditional(match *networking.HTTPMatchRequest) bool {
	if match.GetUri() != nil || match.GetMethod() != nil || match.GetScheme() != nil || len(match.GetHeaders()) > 0 ||
		len(match.GetQueryParams()) > 0 || len(match.GetWithoutHeaders()) > 0 {
		return true
	}
	authority := match.GetAuthority()
	return authority.GetRegex() != "" || !strings.HasPrefix(s.host, strings.ToLower(authority.GetPrefix())) ||
		authority.GetExact() != "" && mesh.NormalHost(authority.GetExact()) != s.host
}

// follow reports whether the Pods follow the route.
func (s *set) follow(pods check.Pods) bool {
	if len(s.calls.route.GetMatch()) == 0 {
		return true
	}
	return slices.ContainsFunc(s.matches(), func(match *networking.HTTPMatchRequest) bool {
		return labels.SelectorFromSet(match.GetSourceLabels()).Matches(labels.Set(pods.Value.Labels))
	})
}

// passOver lists a workload with the credential whose Pods don't follow the route.
func (s *set) passOver(pods check.Pods) {
	if name := reference(pods.Object); !slices.Contains(s.passedOver, name) {
		s.passedOver = append(s.passedOver, name)
	}
}

// checkPassedOver says what happens to the workloads that don't follow the route.
func (s *set) checkPassedOver() {
	if len(s.passedOver) == 0 {
		return
	}
	route := fmt.Sprintf("the %s (spec.http[%d].match)", reference(s.services[0].Object), s.calls.n)
	if len(s.proposal.Workloads) == 0 {
		s.refuse(fmt.Sprintf("%s selects the Pods of none of the workloads with the credential (%s), so their calls go "+
			"elsewhere today; correct sourceLabels, or add the workloads that it selects to the input", route,
			strings.Join(s.passedOver, ", ")))
		return
	}
	for _, name := range s.passedOver {
		s.proposal.Notes = append(s.proposal.Notes, fmt.Sprintf("%s has the credential and is not annotated: %s doesn't "+
			"select its Pods, so its calls go elsewhere today.", name, route))
	}
}
