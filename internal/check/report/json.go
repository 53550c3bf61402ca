package report

import (
	"encoding/json"
	"io"
	"strings"

	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/check"
)

// finding is a finding in the formats json and yaml. Fields are only added.
type finding struct {
	Rule      string `json:"rule"`
	Name      string `json:"name"`
	Severity  string `json:"severity"`
	Group     string `json:"group"`
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
	Column    int    `json:"column,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Object    string `json:"object"`
	Field     string `json:"field,omitempty"`
	Message   string `json:"message"`
	Fix       string `json:"fix"`
	Accepted  string `json:"accepted,omitempty"`
}

func writeJSON(out io.Writer, r Report) error { return encode(out, document(r)) }

// writeYAML writes the same as writeJSON.
func writeYAML(out io.Writer, r Report) error {
	encoded, err := yaml.Marshal(document(r))
	if err != nil {
		return err
	}
	_, err = out.Write(encoded)
	return err
}

// document returns the report in the formats json and yaml.
func document(r Report) map[string]any {
	errors, warnings, accepted := r.count()
	findings := make([]finding, len(r.Findings))
	for n, f := range r.Findings {
		at := f.Location
		findings[n] = finding{
			Rule: f.Rule.ID, Name: f.Rule.Name, Severity: string(f.Rule.Severity), Group: string(f.Rule.Group),
			File: at.Source, Line: f.Line, Column: f.Column, Kind: at.Kind, Namespace: at.Namespace, Object: at.Name,
			Field: f.Field, Message: f.Message, Fix: f.Rule.Fix,
		}
		if f.Accepted != nil {
			findings[n].Accepted = f.Accepted.Reason
		}
	}
	return map[string]any{
		"findings": findings,
		"summary": map[string]int{
			"errors": errors, "warnings": warnings, "accepted": accepted, "objects": len(r.Objects), "files": r.Files,
			"skipped": r.Skipped,
		},
	}
}

// issue is a finding in GitLab's format. https://docs.gitlab.com/ci/testing/code_quality/
type issue struct {
	Description string `json:"description"`
	CheckName   string `json:"check_name"`
	Fingerprint string `json:"fingerprint"`
	Severity    string `json:"severity"`
	Location    struct {
		Path  string `json:"path"`
		Lines struct {
			Begin int `json:"begin"`
		} `json:"lines"`
	} `json:"location"`
}

func writeGitLab(out io.Writer, r Report) error {
	issues, keys := []issue{}, fingerprints(r.open())
	for n, finding := range r.open() {
		one := issue{
			Description: finding.Rule.ID + " " + sentence(finding),
			CheckName:   finding.Rule.ID,
			Fingerprint: keys[n],
			Severity:    map[check.Severity]string{check.Error: "major", check.Warning: "minor"}[finding.Rule.Severity],
		}
		one.Location.Path, one.Location.Lines.Begin = strings.TrimPrefix(finding.Location.Source, "./"), line(finding)
		issues = append(issues, one)
	}
	return encode(out, issues)
}

func encode(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
