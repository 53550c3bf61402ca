package check_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/manifests"
)

// rules has a folder for each rule, with an example that it finds, and one that it doesn't.
const rules = "testdata/rules"

func TestEveryRuleFindsItsBadExampleAlone(t *testing.T) {
	for _, rule := range check.Rules() {
		t.Run(rule.ID+" "+rule.Name, func(t *testing.T) {
			if !slices.Contains(idsIn(t, filepath.Join(rules, rule.ID, "bad.yaml")), rule.ID) {
				t.Error("the bad example has no finding")
			}
			if ids := idsIn(t, filepath.Join(rules, rule.ID, "good.yaml")); slices.Contains(ids, rule.ID) {
				t.Error("the good example has a finding")
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

func idsIn(t *testing.T, path string) []string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	documents, problems := manifests.Read(path, content)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var ids []string
	for _, finding := range check.Check(documents, manifests.Options{Now: now()}) {
		if !strings.HasPrefix(finding.Location.Source, path) || finding.Line == 0 || finding.Column == 0 {
			t.Errorf("%s has no place: %+v", finding.Rule.ID, finding.Location)
		}
		ids = append(ids, finding.Rule.ID)
	}
	return ids
}

func now() time.Time { return time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC) }
