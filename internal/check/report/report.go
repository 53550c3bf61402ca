// Package report writes the findings of package check in the formats of people, CI systems and code
// scanners.
package report

import (
	"cmp"
	"io"
	"slices"
	"strings"

	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/manifests"
)

// Report is the outcome of a check.
type Report struct {
	Findings []check.Finding
	// Objects are the objects of the input.
	Objects []manifests.Location
	// Files is the number of files with objects, 0 for a cluster. Skipped is that of other files.
	Files, Skipped int
	// Version is the version of this program.
	Version string
	// RulesURL is the URL of the folder with the pages of the rules.
	RulesURL string
	// Fails reports whether a finding makes the command fail.
	Fails func(check.Finding) bool
	// Color reports whether to use the colors of a terminal.
	Color bool
}

// Writer writes a report.
type Writer func(io.Writer, Report) error

// Formats returns the writers by the names of their formats.
func Formats() map[string]Writer {
	return map[string]Writer{
		"text": writeText, "json": writeJSON, "yaml": writeYAML, "sarif": writeSARIF, "junit": writeJUnit,
		"github": writeGitHub, "gitlab": writeGitLab,
	}
}

// count returns the numbers of errors and warnings, and of accepted findings.
func (r Report) count() (errors, warnings, accepted int) {
	for _, finding := range r.Findings {
		switch {
		case finding.Accepted != nil:
			accepted++
		case finding.Rule.Severity == check.Error:
			errors++
		default:
			warnings++
		}
	}
	return errors, warnings, accepted
}

// open returns the findings that nobody accepted.
func (r Report) open() []check.Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f check.Finding) bool { return f.Accepted != nil })
}

// page returns the URL of a rule's page.
func (r Report) page(rule check.Rule) string {
	return strings.TrimSuffix(r.RulesURL, "/") + "/" + rule.ID + ".md"
}

// object names an object, such as Deployment project/orders.
func object(at manifests.Location) string {
	return strings.TrimSpace(at.Kind + " " + strings.TrimPrefix(at.Namespace+"/"+at.Name, "/"))
}

// sentence returns the message of a finding after its object, if the finding has one.
func sentence(finding check.Finding) string {
	return strings.TrimPrefix(object(finding.Location)+": "+finding.Message, ": ")
}

// line returns the line of a finding for formats that require one.
func line(finding check.Finding) int { return cmp.Or(finding.Line, 1) }
