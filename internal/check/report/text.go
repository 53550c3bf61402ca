package report

import (
	"fmt"
	"io"
	"strings"

	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/color"
	"mtls.egress/webhook/internal/egress"
)

// writeText writes the findings as compilers do, so that editors find the lines.
func writeText(out io.Writer, r Report) error {
	var text strings.Builder
	explained := map[string]bool{}
	for _, finding := range r.open() {
		severity := color.Yellow
		if finding.Rule.Severity == check.Error {
			severity = color.Red
		}
		fmt.Fprintf(&text, "%s: %s %s: %s\n", color.Bold.Paint(r.Color, egress.Printable(place(finding))),
			severity.Paint(r.Color, string(finding.Rule.Severity)+" "+finding.Rule.ID), finding.Rule.Name,
			egress.Printable(finding.Message))
		if finding.Line > 0 && subject(finding) != "" {
			fmt.Fprintf(&text, "  %s\n", egress.Printable(subject(finding)))
		}
		if !explained[finding.Rule.ID] {
			fmt.Fprintf(&text, "  fix: %s\n", finding.Rule.Fix)
		}
		explained[finding.Rule.ID] = true
	}
	text.WriteString(summary(r) + "\n")
	_, err := io.WriteString(out, text.String())
	return err
}

// place returns the position of a finding, or the object if it comes from a cluster.
func place(finding check.Finding) string {
	if finding.Line == 0 {
		return subject(finding)
	}
	return fmt.Sprintf("%s:%d:%d", finding.Location.Source, finding.Line, finding.Column)
}

// subject returns the object and the field of a finding.
func subject(finding check.Finding) string {
	return strings.Trim(object(finding.Location)+", "+finding.Field, ", ")
}

// summary returns the counts as a line.
func summary(r Report) string {
	errors, warnings, accepted := r.count()
	text := fmt.Sprintf("%s, %s in %s", egress.Counted(errors, "error"), egress.Counted(warnings, "warning"),
		egress.Counted(len(r.Objects), "object"))
	if r.Files > 0 {
		text += " of " + egress.Counted(r.Files, "file")
	}
	if accepted > 0 {
		text += fmt.Sprintf("; %s accepted", egress.Counted(accepted, "finding"))
	}
	switch {
	case r.Skipped == 1:
		text += "; 1 file is not a Kubernetes manifest"
	case r.Skipped > 1:
		text += fmt.Sprintf("; %d files are not Kubernetes manifests", r.Skipped)
	}
	return text
}
