package check_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/mutate"
)

// rules has a folder for each rule, with an example that it finds, and one that it doesn't.
const rules = "testdata/rules"

func TestEveryRuleFindsItsBadExampleAndNothingInTheGoodOne(t *testing.T) {
	for _, rule := range check.Rules() {
		t.Run(rule.ID+" "+rule.Name, func(t *testing.T) {
			if !slices.Contains(idsIn(t, filepath.Join(rules, rule.ID, "bad.yaml")), rule.ID) {
				t.Error("the bad example has no finding")
			}
			for _, finding := range findingsIn(t, filepath.Join(rules, rule.ID, "good.yaml")) {
				if finding.Accepted == nil {
					t.Errorf("the good example has a finding of %s", finding.Rule.ID)
				}
			}
		})
	}
}

func TestEveryFolderOfExamplesHasARule(t *testing.T) {
	folders, err := os.ReadDir(rules)
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		if !slices.ContainsFunc(check.Rules(), func(rule check.Rule) bool { return rule.ID == folder.Name() }) {
			t.Errorf("%s: no rule has this ID", filepath.Join(rules, folder.Name()))
		}
	}
}

func TestEveryRuleForIstioIsMeasured(t *testing.T) {
	content, err := os.ReadFile("testdata/measured.golden.json")
	if err != nil {
		t.Fatal(err)
	}
	measured := map[string]struct{ Source string }{}
	if err := json.Unmarshal(content, &measured); err != nil {
		t.Fatal(err)
	}
	for _, rule := range check.Rules() {
		if found := measured[rule.ID].Source != ""; found != (rule.Group == check.Istio) {
			t.Errorf("%s: measured: %v", rule.ID, found)
		}
		delete(measured, rule.ID)
	}
	if len(measured) > 0 {
		t.Errorf("no rules have these IDs: %v", measured)
	}
}

func idsIn(t *testing.T, path string) []string {
	t.Helper()
	var ids []string
	for _, finding := range findingsIn(t, path) {
		if !strings.HasPrefix(finding.Location.Source, path) || finding.Line == 0 || finding.Column == 0 {
			t.Errorf("%s has no place: %+v", finding.Rule.ID, finding.Location)
		}
		ids = append(ids, finding.Rule.ID)
	}
	return ids
}

func findingsIn(t *testing.T, path string) []check.Finding {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	documents, problems := manifests.Read(path, content)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return check.Check(documents, everyHost())
}

func now() time.Time { return time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC) }

func TestEachReasonOfAProblemHasOneRule(t *testing.T) {
	// The rules of credentials find these in detail.
	elsewhere := []string{string(manifests.ReasonUnusableSecret), string(mutate.ReasonCertificate)}
	var reasons []string
	for _, reason := range manifests.Reasons() {
		reasons = append(reasons, string(reason))
	}
	for _, reason := range slices.Concat(mutate.Refusals(), mutate.ReasonsOfWarnings()) {
		reasons = append(reasons, string(reason))
	}
	for _, reason := range reasons {
		if rules := check.RulesOf(manifests.Reason(reason)); len(rules) != 1 && !slices.Contains(elsewhere, reason) {
			t.Errorf("the reason %s has the rules %v, want one", reason, rules)
		}
	}
}

func TestIDsAndNamesOfRulesAreUnique(t *testing.T) {
	prefixes := map[check.Group]string{check.Ours: "MTE1", check.Istio: "MTE2", check.Credentials: "MTE3"}
	seen := map[string]bool{}
	for _, rule := range check.Rules() {
		if !strings.HasPrefix(rule.ID, prefixes[rule.Group]) || len(rule.ID) != len("MTE101") {
			t.Errorf("%s: the ID is not one of the group %s", rule.ID, rule.Group)
		}
		for _, name := range []string{rule.ID, rule.Name} {
			if seen[name] {
				t.Errorf("two rules have the name %s", name)
			}
			seen[name] = true
		}
		for _, text := range []string{rule.Summary, rule.Effect, rule.Fix} {
			if !strings.HasSuffix(text, ".") {
				t.Errorf("%s: %q is not a sentence", rule.ID, text)
			}
		}
	}
}

func TestABaselineAcceptsItsFindingsAndTellsOfTheOthers(t *testing.T) {
	findings := findingsIn(t, filepath.Join(rules, "MTE128", "bad.yaml"))
	encoded, err := check.NewBaseline(findings).Encode()
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "version": 1,
  "findings": [
    {
      "rule": "MTE128",
      "kind": "Deployment",
      "namespace": "project",
      "name": "orders",
      "field": "spec.template.spec.containers[0].securityContext"
    }
  ]
}
`
	if diff := cmp.Diff(want, string(encoded)); diff != "" {
		t.Errorf("baseline (-want +got):\n%s", diff)
	}
	baseline, err := check.ReadBaseline(encoded)
	if err != nil {
		t.Fatal(err)
	}
	gone := baseline.Accept(findings)
	if accepted := findings[0].Accepted; len(gone) > 0 || accepted == nil || !accepted.ByBaseline {
		t.Errorf("gone %v, accepted %+v", gone, findings[0].Accepted)
	}
	gone = baseline.Accept(nil)
	if diff := cmp.Diff("[MTE128 Deployment project/orders spec.template.spec.containers[0].securityContext]",
		fmt.Sprint(gone)); diff != "" {
		t.Errorf("gone (-want +got):\n%s", diff)
	}
	for content, want := range map[string]string{
		"[]":              "is not a baseline: json: cannot unmarshal array into Go value of type check.Baseline",
		`{"version": 99}`: "has version 99, want 1: write it again with --write-baseline",
	} {
		if _, err := check.ReadBaseline([]byte(content)); err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s", content, err, want)
		}
	}
}
