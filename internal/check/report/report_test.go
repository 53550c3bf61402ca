package report_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/check/report"
	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/test/golden"
)

func TestEachFormatIsTheGoldenOne(t *testing.T) {
	r := example(t)
	for _, format := range slices.Sorted(maps.Keys(report.Formats())) {
		t.Run(format, func(t *testing.T) {
			var out bytes.Buffer
			if err := report.Formats()[format](&out, r); err != nil {
				t.Fatal(err)
			}
			got := out.Bytes()
			if format == "sarif" { // without the rules, which come first, and grow
				_, got, _ = bytes.Cut(got, []byte(`"columnKind"`))
			}
			golden.Compare(t, filepath.Join("testdata", format+".txt"), got)
		})
	}
	r.Color = true
	var out bytes.Buffer
	if err := report.Formats()["text"](&out, r); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, filepath.Join("testdata", "colored.txt"), out.Bytes())
}

// example is a report with an error, a warning, an accepted finding, one of a cluster, and an
// object without any.
func example(t *testing.T) report.Report {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", "input.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	documents, problems := manifests.Read("manifests/a, b.yaml", content)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	live, problems := manifests.Read("cluster", []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"live",`+
		`"namespace":"project","annotations":{"mtls.egress/target":"localhost"}}}`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	documents = append(documents, manifests.Document{Source: "cluster", Number: 1, Object: live[0].Object})
	result := check.Run(documents, manifests.Options{
		Policy: policy.Cluster{Other: policy.OtherAllow}, Now: time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC),
	})
	return report.Report{
		Findings: result.Findings, Objects: result.Objects, Files: 2, Skipped: 3, Version: "v1.2.3",
		RulesURL: "https://example.com/rules/",
		Fails: func(finding check.Finding) bool {
			return finding.Accepted == nil && finding.Rule.Severity == check.Error
		},
	}
}
