package chart

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"mtls.egress/webhook/internal/workload"
)

const rightsPage = "../../docs/reference/rights.md"

// TestEveryRightIsExplained compares the rules of the chart's roles, whatever the values, with the
// table in docs/reference/rights.md.
func TestEveryRightIsExplained(t *testing.T) {
	document, err := os.ReadFile(rightsPage)
	if err != nil {
		t.Fatal(err)
	}
	explained, err := explainedRights(string(document))
	if err != nil {
		t.Fatal(err)
	}
	var given []string
	for _, values := range []string{
		"", "servingCertificate.provider=cert-manager", "rbac.aggregate=false", "crds.keep=false",
	} {
		for _, object := range render(t, "--set", values) {
			if kind := object.GetKind(); kind == "Role" || kind == "ClusterRole" {
				given = append(given, rightsOf(t, object)...)
			}
		}
	}
	slices.Sort(explained)
	given = withoutWorkloadRules(t, given)
	slices.Sort(given)
	given = slices.Compact(given)
	if diff := cmp.Diff(explained, given); diff != "" {
		t.Errorf("the rights (-explained in docs/reference/rights.md +given by the chart):\n%s", diff)
	}
}

func TestARightWithoutAReasonIsNotExplained(t *testing.T) {
	for name, row := range map[string]string{
		"no reason":         "| Role `NAME` | `pods` | any | get | |",
		"a column is short": "| Role `NAME` | `pods` | any | get |",
	} {
		t.Run(name, func(t *testing.T) {
			if explained, err := explainedRights("# Rights\n\n" + row + "\n"); err == nil {
				t.Errorf("it is taken for %q", explained)
			}
		})
	}
}

// explainedRights are the rows of the table under the heading Rights, without what they are for.
func explainedRights(document string) ([]string, error) {
	_, section, found := strings.Cut(document, "# Rights\n")
	if !found {
		return nil, fmt.Errorf("%s has no heading Rights", rightsPage)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var rights []string
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for at := range cells {
			cells[at] = strings.TrimSpace(cells[at])
		}
		if !regexp.MustCompile("^(Cluster)?Role `").MatchString(cells[0]) {
			continue
		}
		if len(cells) != 5 || cells[4] == "" {
			return nil, fmt.Errorf("the row %q has to have five cells, and in the last what the right is for",
				strings.TrimSpace(line))
		}
		right := strings.Join(cells[:4], " | ")
		rights = append(rights, strings.ReplaceAll(strings.ReplaceAll(right, "`", ""), "NAME", release))
	}
	return rights, nil
}

// withoutWorkloadRules replaces the rules of the uninstall check for the kinds in the value
// workloads by one that names the value.
func withoutWorkloadRules(t *testing.T, given []string) []string {
	t.Helper()
	const role = "ClusterRole " + release + "-uninstall | "
	kinds := workload.Known()
	replaced := slices.DeleteFunc(slices.Clone(given), func(right string) bool {
		resource, verbs, _ := strings.Cut(strings.TrimPrefix(right, role), " | any | ")
		_, known := kinds[resource]
		return strings.HasPrefix(right, role) && known && verbs == "list"
	})
	if len(given)-len(replaced) < len(kinds) {
		t.Errorf("%d rules of the uninstall check for %d kinds of workloads", len(given)-len(replaced), len(kinds))
	}
	return append(replaced, role+"the resources in the value workloads | any | list")
}

// rightsOf are the rules of a role as the table has them.
func rightsOf(t *testing.T, object *unstructured.Unstructured) []string {
	t.Helper()
	var role rbacv1.ClusterRole
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &role); err != nil {
		t.Fatal(err)
	}
	var rights []string
	for _, rule := range role.Rules {
		if len(rule.NonResourceURLs) > 0 {
			t.Errorf("%s %s has a right to paths, for which the table has no form", object.GetKind(), role.Name)
		}
		var what []string
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				what = append(what, strings.TrimSuffix(resource+"."+group, "."))
			}
		}
		slices.Sort(what)
		named := "any"
		if len(rule.ResourceNames) > 0 {
			named = strings.Join(rule.ResourceNames, ", ")
		}
		rights = append(rights, strings.Join(
			[]string{object.GetKind() + " " + role.Name, strings.Join(what, ", "), named, strings.Join(rule.Verbs, ", ")},
			" | ",
		))
	}
	return rights
}
