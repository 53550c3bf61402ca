package mesh

import (
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// replaceable marks the conflict if the VirtualService leads calls to what the target reaches too:
// the host, with a client certificate. Its message then has the command that replaces the set.
func (s search) replaceable(virtualService *networkingv1.VirtualService, conflict Conflict) Conflict {
	if !s.leadsToHost(virtualService) || !slices.ContainsFunc(s.rules, s.presentsCertificate) {
		return conflict
	}
	conflict.Adoptable = true
	inNamespace := ""
	if s.target.Namespace != "" {
		inNamespace = " -n " + s.target.Namespace
	}
	conflict.Message += fmt.Sprintf(". It is part of a hand-written set that the target can replace without losing a "+
		"call: mtls-egress-webhook adopt --live%s %s --dry-run", inNamespace, s.target.Host)
	return conflict
}

// leadsToHost reports whether the routes of calls all lead to the partner's TLS port.
func (s search) leadsToHost(virtualService *networkingv1.VirtualService) bool {
	return !slices.ContainsFunc(virtualService.Spec.Http, func(route *networking.HTTPRoute) bool {
		isCall := len(route.GetMatch()) == 0 || slices.ContainsFunc(route.GetMatch(), s.matchesCalls)
		return isCall && (len(route.GetRoute()) != 1 || !s.isPartner(route.GetRoute()[0].GetDestination()))
	})
}

func (s search) isPartner(destination *networking.Destination) bool {
	port := destination.GetPort().GetNumber()
	return s.same(destination.GetHost()) && port == portNumber(s.target.Port)
}

// presentsCertificate reports whether the DestinationRule of the namespace reaches the host over
// mutual TLS, on any port or subset.
func (s search) presentsCertificate(rule *networkingv1.DestinationRule) bool {
	if rule == nil || rule.Namespace != s.target.Namespace || !s.same(rule.Spec.GetHost()) {
		return false
	}
	policies := []*networking.TrafficPolicy{rule.Spec.GetTrafficPolicy()}
	for _, subset := range rule.Spec.GetSubsets() {
		policies = append(policies, subset.GetTrafficPolicy())
	}
	isMutual := func(settings *networking.ClientTLSSettings) bool {
		return settings.GetMode() == networking.ClientTLSSettings_MUTUAL
	}
	return slices.ContainsFunc(policies, func(policy *networking.TrafficPolicy) bool {
		return isMutual(policy.GetTls()) || slices.ContainsFunc(policy.GetPortLevelSettings(),
			func(level *networking.TrafficPolicy_PortTrafficPolicy) bool { return isMutual(level.GetTls()) })
	})
}
