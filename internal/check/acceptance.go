package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/manifests"
)

// unusedAcceptance is the ID of the rule for acceptances without a finding. It looks at the
// findings of all other rules.
const unusedAcceptance = "MTE141"

// acceptanceRules returns the rules for annotations that accept findings.
func acceptanceRules() []Rule {
	return []Rule{
		{
			ID: "MTE140", Group: Ours, Name: "invalid-acceptance", Severity: Warning,
			Summary: "An annotation accepts a finding without a reason, or of a rule that doesn't exist.",
			Effect:  "Nothing is accepted.",
			Fix:     "Write mtls.egress/accept-ID: REASON under metadata.annotations of the object with the finding.",
			find:    invalidAcceptances,
		},
		{
			ID: unusedAcceptance, Group: Ours, Name: "unused-acceptance", Severity: Warning,
			Summary: "An annotation accepts a finding that the object doesn't have.",
			Effect:  "A later finding of the rule would be accepted unseen.",
			Fix:     "Remove the annotation.",
			find: func(w *World, report report) {
				for _, one := range w.acceptances() {
					if one.problem() == "" && !slices.ContainsFunc(w.found, one.accepts) {
						report(one.Object, one.path(), "the object has no finding of the rule "+one.id)
					}
				}
			},
		},
	}
}

func invalidAcceptances(w *World, report report) {
	for _, one := range w.acceptances() {
		if problem := one.problem(); problem != "" {
			report(one.Object, one.path(), problem)
		}
	}
}

// acceptance is an annotation that accepts the findings of a rule on its object.
type acceptance struct {
	manifests.Object

	id, reason string
}

// acceptances returns those of all objects in the input.
func (w *World) acceptances() []acceptance {
	var found []acceptance
	for _, object := range w.Objects {
		metadata, _ := object.Content["metadata"].(map[string]any)
		annotations, _ := metadata["annotations"].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(annotations)) {
			if id, is := strings.CutPrefix(key, egress.AcceptancePrefix); is {
				reason, _ := annotations[key].(string)
				found = append(found, acceptance{Object: object, id: id, reason: strings.TrimSpace(reason)})
			}
		}
	}
	return found
}

func (a acceptance) path() []any {
	return []any{"metadata", "annotations", egress.AcceptancePrefix + a.id}
}

// problem says why the annotation accepts nothing, or is empty.
func (a acceptance) problem() string {
	switch {
	case !slices.ContainsFunc(Rules(), func(rule Rule) bool { return rule.ID == a.id }):
		return fmt.Sprintf("%q is not the ID of a rule; write one such as MTE201, see check --list-rules",
			egress.Excerpt(a.id))
	case a.reason == "":
		return "an acceptance needs a reason: write it as the value of the annotation"
	}
	return ""
}

func (a acceptance) accepts(finding Finding) bool {
	return finding.Rule.ID == a.id && finding.Location == a.Location
}

// accept marks the findings that annotations accept.
func (w *World) accept(findings []Finding) {
	for _, one := range w.acceptances() {
		if one.problem() != "" {
			continue
		}
		for n := range findings {
			if one.accepts(findings[n]) {
				findings[n].Accepted = &Acceptance{Reason: one.reason}
			}
		}
	}
}
