package chart

import (
	"strings"
	"testing"
)

// TestEveryRightHasItsReason: above each rule, reviewers of the chart read what it is for.
func TestEveryRightHasItsReason(t *testing.T) {
	for name, values := range states(t) {
		manifests, problems, err := template(t, release, values...)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, problems)
		}
		rules := 0
		for document := range strings.SplitSeq(manifests, "\n---\n") {
			if !strings.Contains(document, "\nkind: Role\n") && !strings.Contains(document, "\nkind: ClusterRole\n") {
				continue
			}
			lines := strings.Split(document, "\n")
			for i, line := range lines {
				if !strings.HasPrefix(strings.TrimSpace(line), "- apiGroups:") {
					continue
				}
				rules++
				if above := strings.TrimSpace(lines[i-1]); !strings.HasPrefix(above, "# ") {
					t.Errorf("%s: a rule without its reason: %s", name, strings.Join(lines[i:min(i+6, len(lines))], " "))
				}
			}
		}
		if made := countRules(t, render(t, values...)); rules != made {
			t.Errorf("%s: %d rules looked at, want all %d", name, rules, made)
		}
	}
}

func countRules(t *testing.T, rendered objects) int {
	t.Helper()
	count := 0
	for _, object := range rendered {
		if kind := object.GetKind(); kind == "Role" || kind == "ClusterRole" {
			count += len(at(t, object, "rules").([]any))
		}
	}
	return count
}
