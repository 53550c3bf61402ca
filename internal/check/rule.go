package check

import (
	"cmp"
	"slices"

	"mtls.egress/webhook/internal/manifests"
)

// Severity says what a finding means for the calls to the partner.
type Severity string

const (
	// Error is a finding with which calls fail, leave in plain text, or are sent twice.
	Error Severity = "error"
	// Warning is a finding that is probably not intended, or works only under conditions that the
	// input doesn't show.
	Warning Severity = "warning"
)

// Group is what a rule looks at.
type Group string

const (
	// Ours are the annotations and objects of this project: what admission and the controller would
	// refuse or warn of.
	Ours Group = "mtls-egress"
	// Istio are hand-written Istio objects.
	Istio Group = "istio"
	// Credentials are the client certificates in Secrets.
	Credentials Group = "credential"
)

// Rule is one kind of mistake.
type Rule struct {
	// ID is stable: MTE1xx for [Ours], MTE2xx for [Istio], MTE3xx for [Credentials].
	ID    string
	Group Group
	// Name is the ID in words, such as tls-on-bare-port.
	Name     string
	Severity Severity
	// Summary is what is wrong, in one sentence without values.
	Summary string
	// Effect is what happens to calls, as measured.
	Effect string
	// Fix is what to write instead.
	Fix string

	// reasons are those of the problems that a rule of [Ours] selects.
	reasons []manifests.Reason
	find    func(*World, report)
}

// report records a finding of the rule: the object, the path to the field, and the sentence that
// says what is wrong with which value.
type report func(at manifests.Object, path []any, message string)

// Rules returns all rules, by their IDs.
func Rules() []Rule {
	rules := slices.Concat(oursRules(), acceptanceRules(), istioRules(), credentialRules())
	slices.SortFunc(rules, func(a, b Rule) int { return cmp.Compare(a.ID, b.ID) })
	return rules
}

// RulesOf returns the IDs of the rules for problems with the reason.
func RulesOf(reason manifests.Reason) []string {
	var ids []string
	for _, rule := range Rules() {
		if slices.Contains(rule.reasons, reason) {
			ids = append(ids, rule.ID)
		}
	}
	return ids
}
