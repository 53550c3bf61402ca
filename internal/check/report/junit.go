package report

import (
	"encoding/xml"
	"io"
	"maps"
	"slices"
	"strings"

	"mtls.egress/webhook/internal/manifests"
)

// The format that CI systems read, as Jenkins and GitLab document it: a suite for each file, a case
// for each finding, and one for each object without any.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string     `xml:"name,attr"`
		Class   string     `xml:"classname,attr"`
		File    string     `xml:"file,attr,omitempty"`
		Line    int        `xml:"line,attr,omitempty"`
		Failure *junitText `xml:"failure"`
		Skipped *junitText `xml:"skipped"`
		Out     string     `xml:"system-out,omitempty"`
	}
	junitText struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

func writeJUnit(out io.Writer, r Report) error {
	suites := map[string]*junitSuite{}
	add := func(source string, one junitCase) {
		if suites[source] == nil {
			suites[source] = &junitSuite{Name: source}
		}
		suite := suites[source]
		suite.Tests++
		if one.Failure != nil {
			suite.Failures++
		}
		if one.Skipped != nil {
			suite.Skipped++
		}
		suite.Cases = append(suite.Cases, one)
	}
	withFindings := map[manifests.Location]bool{}
	for _, finding := range r.Findings {
		at := finding.Location
		withFindings[at] = true
		one := junitCase{
			Name:  strings.TrimSuffix(finding.Rule.ID+" "+finding.Rule.Name+": "+object(at), ": "),
			Class: at.Source, File: at.Source, Line: finding.Line,
		}
		text := place(finding) + ": " + finding.Message + "\nfix: " + finding.Rule.Fix
		switch {
		case finding.Accepted != nil:
			one.Skipped = &junitText{Message: "accepted: " + finding.Accepted.Reason}
		case r.Fails(finding):
			one.Failure = &junitText{Message: finding.Message, Type: string(finding.Rule.Severity), Text: text}
		default:
			one.Out = string(finding.Rule.Severity) + ": " + text
		}
		add(at.Source, one)
	}
	for _, at := range r.Objects {
		if !withFindings[at] {
			add(at.Source, junitCase{Name: object(at), Class: at.Source, File: at.Source, Line: at.Line})
		}
	}
	all := junitSuites{Name: "mtls-egress-webhook check"}
	for _, source := range slices.Sorted(maps.Keys(suites)) {
		all.Tests, all.Failures = all.Tests+suites[source].Tests, all.Failures+suites[source].Failures
		all.Suites = append(all.Suites, *suites[source])
	}
	if _, err := io.WriteString(out, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(out)
	encoder.Indent("", "  ")
	if err := encoder.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(out, "\n")
	return err
}
