package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/test/apiserver"
)

// TestMetricsAreDescribed compares the names of metrics in the code with those in
// docs/reference/metrics.md.
func TestMetricsAreDescribed(t *testing.T) {
	document, err := os.ReadFile(filepath.Join(root, "docs", "reference", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	described := names(string(document), "`(mtls_egress_[a-z_]+)`")
	var inCode []string
	err = filepath.WalkDir(filepath.Join(root, "internal"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		inCode = append(inCode, names(string(content), `"(mtls_egress_[a-z_]+)"`)...)
		return err
	})
	if err != nil || len(inCode) == 0 {
		t.Fatalf("%d metrics in the code, error %v", len(inCode), err)
	}
	slices.Sort(inCode)
	if diff := cmp.Diff(inCode, described); diff != "" {
		t.Errorf("the metrics (-in the code +in docs/reference/metrics.md):\n%s", diff)
	}
}

// TestQueriesOfTheDocuments has Prometheus answer each block that is marked promql. Other blocks
// have no metrics of this project, or are commands.
func TestQueriesOfTheDocuments(t *testing.T) {
	block := regexp.MustCompile("(?ms)^ *```([a-z]*)$\n(.*?)^ *```$")
	found := map[string][]string{}
	for _, path := range documents(t) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range block.FindAllStringSubmatch(string(content), -1) {
			language, text := match[1], match[2]
			if language == "promql" {
				document := strings.TrimPrefix(path, root+"/")
				found[document] = append(found[document], text)
			} else if language != "sh" && strings.Contains(text, "mtls_egress_") {
				t.Errorf("%s: mark the block as promql:\n%s", path, text)
			}
		}
	}
	const ofTarget = `{namespace="project", host="HOST", reason="CredentialInvalid"`
	target := func(host, more string) string { return strings.Replace(ofTarget, "HOST", host, 1) + more + "}" }
	series := map[string]float64{
		"mtls_egress_target_ready" + target("a.example", `, pod="a"`):                               0,
		"mtls_egress_target_ready" + target("b.example", `, pod="a"`):                               0,
		`mtls_egress_target_ready{namespace="project", host="ready.example", pod="a"}`:              1,
		`mtls_egress_target_owner{namespace="project", host="a.example", team="shop", pod="a"}`:     1,
		`mtls_egress_target_owner{namespace="project", host="a.example", team="shop", pod="b"}`:     1,
		`mtls_egress_target_owner{namespace="project", host="ready.example", team="shop", pod="a"}`: 1,
	}
	want := map[string][]map[string]float64{
		"docs/reference/metrics.md": {
			{
				target("a.example", `, pod="a", team="shop"`):                 0,
				"mtls_egress_target_ready" + target("b.example", `, pod="a"`): 0,
			},
		},
	}
	for document, queries := range found {
		for n, query := range queries {
			if n >= len(want[document]) {
				t.Errorf("%s: add what this query answers to the test:\n%s", document, query)
				continue
			}
			if err := answers(t, series, query, want[document][n]); err != nil {
				t.Errorf("%s: %v", document, err)
			}
		}
	}
	for document := range want {
		if len(found[document]) < len(want[document]) {
			t.Errorf("%s has %d queries, want %d", document, len(found[document]), len(want[document]))
		}
	}
}

// answers returns what is wrong if Prometheus answers a query with other samples, where series have
// a value each.
func answers(t *testing.T, series map[string]float64, query string, want map[string]float64) error {
	t.Helper()
	var input, samples []any
	for name, value := range series {
		input = append(input, map[string]any{"series": name, "values": fmt.Sprint(value)})
	}
	for labels, value := range want {
		samples = append(samples, map[string]any{"labels": labels, "value": value})
	}
	content, err := yaml.Marshal(map[string]any{"tests": []any{map[string]any{
		"interval": "1m", "input_series": input,
		"promql_expr_test": []any{map[string]any{"expr": query, "eval_time": "0m", "exp_samples": samples}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "test.yaml"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return apiserver.Promtool(t.Context(), dir, "test", "rules", "test.yaml")
}

// names are what the group of a pattern matches, each once, in order.
func names(text, pattern string) []string {
	var found []string
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	slices.Sort(found)
	return slices.Compact(found)
}
