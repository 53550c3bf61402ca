package mesh

import (
	"fmt"
	"maps"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
)

// destinationRules finds the DestinationRules for the host. Istio takes the rules of the caller's namespace for the most
// specific host and no others. Among them those with a selector come first, then the older; of one Pod's it takes the first
// that matches. Rules with equal selectors are merged into the oldest, which keeps its traffic policy and its subsets.
func (s search) destinationRules(all []*networkingv1.DestinationRule, serviceEntries []*networkingv1.ServiceEntry) []Conflict {
	theirs, ours := foreign(s, all)
	known := s.knownFrom(serviceEntries)
	var conflicts []Conflict
	for _, rule := range theirs {
		if conflict, found := s.destinationRule(rule, ours, known); found {
			conflicts = append(conflicts, conflict)
		}
	}
	return conflicts
}

func (s search) destinationRule(rule, ours *networkingv1.DestinationRule, known []string) (Conflict, bool) {
	if s.takesOurName(rule) {
		// Without ours, another rule for the host decides what the subset does.
		return s.nameTaken(KindDestinationRule, rule).leaking(), true
	}
	exact := s.same(rule.Spec.Host)
	if !exact && !covers(rule.Spec.Host, s.target.Host) {
		return Conflict{}, false
	}
	selector := rule.Spec.WorkloadSelector
	if rule.Namespace != s.target.Namespace {
		return s.exportedRule(rule, known)
	}
	if selector == nil && reachOf(rule.Spec.ExportTo, rule.Namespace, s.target.Namespace) == unseen {
		return Conflict{}, false
	}
	switch {
	case !exact:
		return s.wildcardRule(rule, known)
	case selector == nil:
		return s.ruleWithoutSelector(rule), true
	case !s.mayMatch(selector.MatchLabels):
		return Conflict{}, false
	}
	first := ours == nil || before(rule, ours)
	if maps.Equal(selector.MatchLabels, podLabels(s.target)) {
		return s.mergedRule(rule, first)
	}
	return s.selectedRule(rule, first), true
}

// exportedRule is for rules of other namespaces. One only had an effect here if it is exported, and stands where the host
// has been known from or in the root namespace.
func (s search) exportedRule(rule *networkingv1.DestinationRule, known []string) (Conflict, bool) {
	asked := slices.Contains(known, rule.Namespace) || rule.Namespace == s.root && len(known) > 0
	if rule.Spec.WorkloadSelector != nil || !asked ||
		reachOf(rule.Spec.ExportTo, rule.Namespace, s.target.Namespace) == unseen {
		return Conflict{}, false
	}
	return s.conflict(KindDestinationRule, rule, "spec.host", HiddenByOurs,
		"is for %s and exported to %s, but Istio asks the caller's own namespace first and finds ours there, so it no longer applies to any Pod of the namespace; move what these Pods need to the EgressTarget, or to a DestinationRule of the namespace",
		s.target.Host, or(s.target.Namespace, "the namespace")), true
}

// wildcardRule is for rules of the namespace whose host is a wildcard. Where no ServiceEntry made the host known, they never
// had an effect on it.
func (s search) wildcardRule(rule *networkingv1.DestinationRule, known []string) (Conflict, bool) {
	if len(known) == 0 {
		return Conflict{}, false
	}
	return s.conflict(KindDestinationRule, rule, "spec.host", HiddenByOurs,
		"covers %s with the wildcard %s, but Istio takes the rules of the most specific host alone and that is ours, so it no longer applies to calls to %s from any Pod of the namespace; write what the other Pods need into a DestinationRule for the host itself",
		s.target.Host, rule.Spec.Host, s.target.Host), true
}

// ruleWithoutSelector is for rules that name the host and no Pods. With exportTo "." alone Istio merges such a rule into
// ours and forgets it for all other Pods (mergeDestinationRule with ENABLE_ENHANCED_DESTINATIONRULE_MERGE, its default).
func (s search) ruleWithoutSelector(rule *networkingv1.DestinationRule) Conflict {
	if onlyPrivate(rule.Spec.ExportTo) {
		return s.conflict(KindDestinationRule, rule, "spec.exportTo", HiddenByOurs,
			"is for %s, names no Pods and has ours' exportTo, so Istio merges it into ours, where ours wins, and no longer applies it to any other Pod of the namespace; write the name of the namespace instead of the dot",
			s.target.Host)
	}
	return s.conflict(KindDestinationRule, rule, "spec.workloadSelector", HiddenByOurs,
		"is for %s and names no Pods, so it applies to all Pods of the namespace but the target's, which follow ours alone; move what these Pods need to the EgressTarget, and remove it if no other Pod calls the host",
		s.target.Host)
}

func onlyPrivate(exportTo []string) bool {
	return len(exportTo) > 0 && !slices.ContainsFunc(exportTo, func(to string) bool { return to != "." })
}

// mergedRule is for rules with our selector. The newer one adds the subsets that the older doesn't have.
func (s search) mergedRule(rule *networkingv1.DestinationRule, first bool) (Conflict, bool) {
	subset, field := ourSubset(rule)
	if subset < 0 {
		field = "spec.trafficPolicy"
	}
	switch {
	case subset < 0 && rule.Spec.TrafficPolicy == nil:
		return Conflict{}, false
	case !first:
		return s.conflict(KindDestinationRule, rule, field, HiddenByOurs,
			"selects the target's Pods by our label and is newer, so Istio merges it into ours and drops this setting for calls to %s; move it to the EgressTarget and delete it here",
			s.target.Host), true
	case subset >= 0:
		return s.conflict(KindDestinationRule, rule, field, BreaksOurs,
			"selects the target's Pods by our label, is older and has the name of our subset, so Istio takes it in place of ours, and calls to %s leave in plain text unless it sets TLS itself; delete it",
			s.target.Host).leaking(), true
	default:
		return s.conflict(KindDestinationRule, rule, field, BreaksOurs,
			"selects the target's Pods by our label and is older, so for calls to %s Istio takes it in place of ours, which guards port %d; move it to the EgressTarget and delete it here",
			s.target.Host, s.target.AppPort), true
	}
}

// ourSubset returns where the rule has a subset with the name of ours, -1 without one.
func ourSubset(rule *networkingv1.DestinationRule) (index int, field string) {
	index = slices.IndexFunc(rule.Spec.Subsets, func(subset *networking.Subset) bool { return subset.GetName() == SubsetName })
	return index, fmt.Sprintf("spec.subsets[%d]", index)
}

// selectedRule is for rules with another selector that can match Pods of the target.
func (s search) selectedRule(rule *networkingv1.DestinationRule, first bool) Conflict {
	if subset, field := ourSubset(rule); first && subset >= 0 {
		return s.conflict(KindDestinationRule, rule, field, BreaksOurs,
			"can select Pods of the target, is older and has the name of our subset, so for a Pod that both select Istio takes it in place of ours, and calls to %s leave in plain text unless it sets TLS itself; delete it",
			s.target.Host).leaking()
	}
	if first {
		return s.conflict(KindDestinationRule, rule, "spec.workloadSelector", BreaksOurs,
			"can select Pods of the target and is older, so for a Pod that both select Istio takes it and not ours, the subset %s is missing, and calls to %s fail with 503; move its settings to the EgressTarget and delete it",
			SubsetName, s.target.Host)
	}
	return s.conflict(KindDestinationRule, rule, "spec.workloadSelector", HiddenByOurs,
		"can select Pods of the target and is newer, so for a Pod that both select Istio takes ours and it has no effect on calls to %s; move its settings to the EgressTarget and delete it",
		s.target.Host)
}
