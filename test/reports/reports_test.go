// Package reports_test reads the reports of check with the schema and the libraries of those that
// consume them.
package reports_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/joshdk/go-junit"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/check/report"
	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/policy"
)

func TestSARIFIsValid(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("testdata", "sarif-schema-2.1.0.json"))
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]report.Report{
		"without findings": {RulesURL: "docs/reference/rules"}, "with findings of all rules": everyBadExample(t),
	} {
		t.Run(name, func(t *testing.T) {
			log, err := jsonschema.UnmarshalJSON(bytes.NewReader(write(t, "sarif", r)))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(log); err != nil {
				t.Errorf("%#v", err)
			}
		})
	}
}

func TestAJUnitReaderFindsTheSameFindings(t *testing.T) {
	r := everyBadExample(t)
	suites, err := junit.Ingest(write(t, "junit", r))
	if err != nil {
		t.Fatal(err)
	}
	got, want := map[junit.Status]int{}, map[junit.Status]int{}
	withFindings := map[manifests.Location]bool{}
	for _, suite := range suites {
		for _, test := range suite.Tests {
			got[test.Status]++
		}
	}
	for _, finding := range r.Findings {
		withFindings[finding.Location] = true
		switch {
		case finding.Accepted != nil:
			want[junit.StatusSkipped]++
		case r.Fails(finding):
			want[junit.StatusFailed]++
		default:
			want[junit.StatusPassed]++
		}
	}
	for _, object := range r.Objects {
		if !withFindings[object] {
			want[junit.StatusPassed]++
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cases by their status (-want +got):\n%s", diff)
	}
}

// TestCodeQualityHasWhatGitLabReads checks the fields that GitLab requires.
// https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
func TestCodeQualityHasWhatGitLabReads(t *testing.T) {
	var issues []struct {
		Description, Fingerprint, Severity string
		CheckName                          string `json:"check_name"`
		Location                           struct {
			Path  string
			Lines struct{ Begin int }
		}
	}
	if err := json.Unmarshal(write(t, "gitlab", everyBadExample(t)), &issues); err != nil {
		t.Fatal(err)
	}
	fingerprints := map[string]bool{}
	for _, issue := range issues {
		known := slices.Contains([]string{"info", "minor", "major", "critical", "blocker"}, issue.Severity)
		if issue.Description == "" || issue.CheckName == "" || issue.Location.Path == "" || issue.Location.Lines.Begin < 1 ||
			!known {
			t.Errorf("lacks a field: %+v", issue)
		}
		if fingerprints[issue.Fingerprint] {
			t.Errorf("the fingerprint isn't unique: %+v", issue)
		}
		fingerprints[issue.Fingerprint] = true
	}
	if len(issues) == 0 {
		t.Error("there are no issues")
	}
}

// everyBadExample is the report of the bad examples of all rules.
func everyBadExample(t *testing.T) report.Report {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("..", "..", "internal", "check", "testdata", "rules", "*", "bad.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatal(err, paths)
	}
	r := report.Report{
		Version: "v1.2.3", RulesURL: "https://example.com/rules",
		Fails: func(finding check.Finding) bool {
			return finding.Accepted == nil && finding.Rule.Severity == check.Error
		},
	}
	found := map[string]bool{}
	for n, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		documents, problems := manifests.Read(fmt.Sprintf("example-%d.yaml", n), content)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		result := check.Run(documents, manifests.Options{
			Policy: policy.Cluster{Other: policy.OtherAllow}, Now: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC),
		})
		r.Findings, r.Objects = append(r.Findings, result.Findings...), append(r.Objects, result.Objects...)
		for _, finding := range result.Findings {
			found[finding.Rule.ID] = true
		}
	}
	r.Findings[0].Accepted = &check.Acceptance{Reason: "a test", ByBaseline: true}
	if len(found) != len(check.Rules()) {
		t.Fatalf("findings of %v only", slices.Sorted(maps.Keys(found)))
	}
	return r
}

func write(t *testing.T, format string, r report.Report) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := report.Formats()[format](&out, r); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
