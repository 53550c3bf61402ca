package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestNamedTestsExist finds tests that a book refers to and that no longer exist.
func TestNamedTestsExist(t *testing.T) {
	var tests []string
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		tests = append(tests, names(string(content), `(?m)^func (Test\w+)\(`)...)
		return err
	})
	if err != nil || len(tests) == 0 {
		t.Fatalf("%d tests, error %v", len(tests), err)
	}
	named := 0
	for _, path := range documents(t) {
		if !strings.HasPrefix(path, filepath.Join(root, "docs")) {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range names(string(content), "`(Test[A-Z]\\w+)`") {
			named++
			if !slices.Contains(tests, test) {
				t.Errorf("%s names %s, which no package has", path, test)
			}
		}
	}
	if named == 0 {
		t.Error("no book names a test")
	}
}

// TestCompatibilityNamesTheVersionsOfTheTests compares the table at the top of
// docs/reference/compatibility.md with the modules that the servers of the tests are built of.
func TestCompatibilityNamesTheVersionsOfTheTests(t *testing.T) {
	document, err := os.ReadFile(filepath.Join(root, "docs", "reference", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	for row, source := range map[string]struct{ file, pattern string }{
		"Kubernetes":                     {"go.mod", `k8s\.io/kubernetes v(\d+\.\d+\.\d+)`},
		"Istio":                          {"istio/go.mod", `istio\.io/api v(\d+\.\d+)\.`},
		"cert-manager, where it is used": {"certmanager/go.mod", `cert-manager/cert-manager v(\d+\.\d+\.\d+)`},
		"Helm":                           {"go.mod", `helm\.sh/helm/v3 v(\d+\.\d+\.\d+)`},
	} {
		t.Run(row, func(t *testing.T) {
			modules, err := os.ReadFile(filepath.Join(root, "test", "tools", source.file))
			if err != nil {
				t.Fatal(err)
			}
			version := regexp.MustCompile(source.pattern).FindStringSubmatch(string(modules))
			if version == nil {
				t.Fatalf("test/tools/%s has no %s", source.file, source.pattern)
			}
			documented := regexp.MustCompile(`(?m)^\| ` + row + ` \| .* \| (.*) \|$`).FindStringSubmatch(string(document))
			if documented == nil || documented[1] != version[1] {
				t.Errorf("docs/reference/compatibility.md says %q, the tests run on %s", documented, version[1])
			}
		})
	}
}
