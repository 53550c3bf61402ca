package mesh

import (
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// destinationRules finds the DestinationRules that Istio may follow in place of ours: those of the target's
// namespace for the host of ours. Istio takes the rules of the caller's namespace for the most specific host and
// no others, so wildcards and rules of other namespaces don't matter once ours is there. A policy refuses wildcards
// with our subset, which would take its place while ours is missing.
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
	applies := s.isOurs(rule.Spec.GetHost()) && rule.Namespace == s.target.Namespace &&
		(selector == nil || s.mayMatch(selector.GetMatchLabels()))
	switch {
	case applies:
		// Rules with equal selectors are merged into the oldest, which keeps its subsets: mergeDestinationRule in
		// https://github.com/istio/istio/blob/1.30.3/pilot/pkg/model/destination_rule.go
		return s.reserved(KindDestinationRule, rule, "spec.host", rule.Spec.GetHost()).closing(), true
	case s.hasOurName(rule):
		return s.nameTaken(KindDestinationRule, rule), true
	}
	return Conflict{}, false
}
