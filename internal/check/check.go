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
	// Location is the object, and Line and Column, from 1, are the field in its source.
	Location     manifests.Location
	Line, Column int
	// Field is the path to the field, such as spec.trafficPolicy.tls.
	Field string
	// Message says what is wrong, with the values.
	Message string
}

// Check returns what the rules find in the documents, in the order of the input.
func Check(documents []manifests.Document, options manifests.Options) []Finding {
	world := newWorld(documents, options)
	var findings []Finding
	for _, rule := range Rules() {
		rule.find(world, func(at manifests.Object, path []any, message string) {
			line, column := at.Position(path...)
			findings = append(findings, Finding{
				Rule: rule, Location: at.Location, Line: line, Column: column, Field: manifests.FieldPath(path), Message: message,
			})
		})
	}
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.Location.Source, b.Location.Source), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column), strings.Compare(a.Rule.ID, b.Rule.ID))
	})
	return findings
}
