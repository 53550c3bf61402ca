package mesh

import (
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/internal/egress"
)

// destinationRules finds the DestinationRules that Istio may follow in place of ours: those of the
// target's namespace for the host of ours. Istio takes the rules of the caller's namespace for the
// most specific host and no others, so wildcards and rules of other namespaces don't matter once
// ours is there, but for those with our subset: while ours is missing, a wildcard of the namespace
// or of the root namespace takes its place.
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
	applies := sameHost(rule.Spec.GetHost(), egress.MeshHost(s.target.Host)) && rule.Namespace == s.target.Namespace &&
		(selector == nil || s.mayMatch(selector.GetMatchLabels()))
	switch {
	case applies:
		// Rules with equal selectors are merged into the oldest, which keeps its subsets:
		// mergeDestinationRule in
		// https://github.com/istio/istio/blob/1.30.3/pilot/pkg/model/destination_rule.go
		return s.reserved(KindDestinationRule, rule, "spec.host", rule.Spec.GetHost()).closing(), true
	case s.hasOurName(rule):
		return s.nameTaken(KindDestinationRule, rule), true
	case s.standsIn(rule):
		return s.conflict(KindDestinationRule, rule, "spec.host", BreaksOurs,
			"covers the generated host with the wildcard %s and has a subset %s, so it takes the place of ours while that is missing, and calls to %s may leave in plain text; "+
				"give the subset another name", rule.Spec.GetHost(), SubsetName, s.target.Host).closing(), true
	}
	return Conflict{}, false
}

// standsIn reports whether the rule takes the place of ours while that is missing.
func (s search) standsIn(rule *networkingv1.DestinationRule) bool {
	own := rule.Namespace == s.target.Namespace
	reach := reachOf(rule.Spec.GetExportTo(), s.mesh.DestinationRuleExportTo, rule.Namespace, s.target.Namespace)
	root := rule.Namespace == s.root && reach != unseen
	selector := rule.Spec.GetWorkloadSelector()
	return (own || root) && covers(rule.Spec.GetHost(), egress.MeshHost(s.target.Host)) &&
		(selector == nil || s.mayMatch(selector.GetMatchLabels())) &&
		slices.ContainsFunc(rule.Spec.GetSubsets(), func(subset *networking.Subset) bool { return subset.GetName() == SubsetName })
}
