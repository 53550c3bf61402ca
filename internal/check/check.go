package check

import (
	"cmp"
	"slices"
	"strings"

	"mtls.egress/webhook/internal/manifests"
)

// Finding is one mistake in the input.
type Finding struct {
	Rule Rule
	// Location is the object, and Line and Column, from 1, are the field in its source. They are 0 for
	// an object of a cluster.
	Location     manifests.Location
	Line, Column int
	// Field is the path to the field, such as spec.trafficPolicy.tls.
	Field string
	// Message says what is wrong, with the values.
	Message string
	// Accepted is not nil if somebody accepted the finding.
	Accepted *Acceptance
}

// Acceptance says why a finding doesn't count.
type Acceptance struct {
	Reason string
	// ByBaseline reports whether a baseline accepts the finding. Otherwise an annotation does.
	ByBaseline bool
}

// Result is the outcome for an input.
type Result struct {
	// Findings are in the order of the input.
	Findings []Finding
	// Objects are the objects of the input.
	Objects []manifests.Location
	// Targets is the number of targets that its workloads ask for.
	Targets int
}

// Check returns what the rules find in the documents, in the order of the input.
func Check(documents []manifests.Document, options manifests.Options) []Finding {
	return Run(documents, options).Findings
}

// Run applies all rules to the documents.
func Run(documents []manifests.Document, options manifests.Options) Result {
	world := newWorld(documents, options)
	rules := Rules()
	for _, rule := range rules {
		if rule.ID != unusedAcceptance {
			world.apply(rule)
		}
	}
	for _, rule := range rules {
		if rule.ID == unusedAcceptance {
			world.apply(rule)
		}
	}
	world.accept(world.found)
	slices.SortStableFunc(world.found, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.Location.Source, b.Location.Source),
			cmp.Compare(a.Location.Number, b.Location.Number), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column), strings.Compare(a.Rule.ID, b.Rule.ID))
	})
	result := Result{Findings: world.found}
	for _, object := range world.Objects {
		result.Objects = append(result.Objects, object.Location)
	}
	for _, use := range world.review.Uses {
		if use.Workloads > 0 {
			result.Targets++
		}
	}
	return result
}

// Unreadable returns the findings for input that can't be read: problems of [manifests.Read], or of
// a file as a whole. They are of the rule for objects that can't be read, whatever their reason is.
func Unreadable(problems []manifests.Problem) []Finding {
	rules := Rules()
	rule := rules[slices.IndexFunc(rules, func(rule Rule) bool {
		return slices.Contains(rule.reasons, manifests.ReasonSyntax)
	})]
	findings := make([]Finding, len(problems))
	for n, problem := range problems {
		findings[n] = Finding{
			Rule: rule, Location: problem.Location, Line: problem.Location.Line, Column: 1, Field: problem.Field,
			// It names the field: the line is only near.
			Message: problem.Message,
		}
	}
	return findings
}

// apply adds what the rule finds.
func (w *World) apply(rule Rule) {
	rule.find(w, func(at manifests.Object, path []any, message string) {
		line, column := at.Position(path...)
		w.found = append(w.found, Finding{
			Rule: rule, Location: at.Location, Line: line, Column: column, Field: manifests.FieldPath(path), Message: message,
		})
	})
}
