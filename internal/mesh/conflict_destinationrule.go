package mesh

import (
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/internal/egress"
)

// destinationRules finds the DestinationRules that Istio may use instead of ours: those in the
// target's namespace for the generated host. Istio uses only the rules of the caller's namespace
// for the most specific host. Wildcards and rules of other namespaces therefore don't matter once
// ours exists. While ours is missing, a wildcard rule with our subset in the namespace or in the
// root namespace takes its place.
func (s search) destinationRules(all []*networkingv1.DestinationRule) []Conflict {
	theirs, _ := foreign(s, all)
	var conflicts []Conflict
	for _, rule := range theirs {
		if conflict, found := s.destinationRule(rule); found {
			conflicts = append(conflicts, conflict)
		}
	}
	return conflicts
}

func (s search) destinationRule(rule *networkingv1.DestinationRule) (Conflict, bool) {
	selector := rule.Spec.GetWorkloadSelector()
	applies := rule.Namespace == s.target.Namespace && sameHost(rule.Spec.GetHost(), egress.MeshHost(s.target.Host)) &&
		(selector == nil || s.mayMatch(selector.GetMatchLabels()))
	switch {
	case applies:
		// Istio merges rules with equal selectors into the oldest one, which keeps its subsets:
		// mergeDestinationRule in
		// https://github.com/istio/istio/blob/1.30.3/pilot/pkg/model/destination_rule.go
		return s.reserved(KindDestinationRule, rule, "spec.host", rule.Spec.GetHost()).closing(), true
	case s.hasOurName(rule):
		return s.nameTaken(KindDestinationRule, rule), true
	case s.replacesMissing(rule):
		return s.conflict(KindDestinationRule, rule, "spec.host", BreaksOurs,
			"matches the generated host with the wildcard %s and has a subset %s, so Istio uses it while the generated "+
				"DestinationRule is missing, and calls to %s may leave in plain text; rename the subset",
			rule.Spec.GetHost(), SubsetName, s.target.Host).closing(), true
	}
	return Conflict{}, false
}

// replacesMissing reports whether Istio uses the rule while ours is missing.
func (s search) replacesMissing(rule *networkingv1.DestinationRule) bool {
	own := rule.Namespace == s.target.Namespace
	reach := reachOf(rule.Spec.GetExportTo(), s.mesh.DestinationRuleExportTo, rule.Namespace, s.target.Namespace)
	root := rule.Namespace == s.root && reach != unseen
	selector := rule.Spec.GetWorkloadSelector()
	return (own || root) && covers(rule.Spec.GetHost(), egress.MeshHost(s.target.Host)) &&
		(selector == nil || s.mayMatch(selector.GetMatchLabels())) &&
		slices.ContainsFunc(rule.Spec.GetSubsets(), func(subset *networking.Subset) bool {
			return subset.GetName() == SubsetName
		})
}
