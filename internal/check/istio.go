package check

import (
	"slices"
)

// istioRules returns the rules for hand-written Istio objects. Objects of this project are not
// hand-written, and have no findings.
func istioRules() []Rule {
	return slices.Concat(
		bareTLSRules(), destinationRuleRules(), visibilityRules(), tlsSettingRules(), virtualServiceRules(), routeRules(),
		serviceEntryRules(), backendTLSPolicyRules(), mountRules(), podRules(),
	)
}

// byHand returns a function of a [Rule] that looks only at hand-written objects.
func byHand(find func(*handWritten, report)) func(*World, report) {
	return func(w *World, report report) { find(w.handWritten(), report) }
}
