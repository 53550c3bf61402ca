package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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

// names are what the group of a pattern matches, each once, in order.
func names(text, pattern string) []string {
	var found []string
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	slices.Sort(found)
	return slices.Compact(found)
}
