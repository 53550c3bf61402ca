package apiserver

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// provided finds a variable, and the command of test/tools that it is set by.
var provided = regexp.MustCompile(
	`(MTLS_EGRESS_[A-Z_]+)=\$\(go -C test/tools run \. ([a-z-]+)\); export (MTLS_EGRESS_[A-Z_]+)`)

// TestMakeProvidesWhatTestsNeed compares what `make test`, `make test-workloads` and `make bench`
// provide before they run any test with all commands of test/tools.
func TestMakeProvidesWhatTestsNeed(t *testing.T) {
	root := filepath.Join("..", "..")
	source, err := os.ReadFile(filepath.Join(root, "test", "tools", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, found := range regexp.MustCompile(`case "([a-z-]+)":`).FindAllStringSubmatch(string(source), -1) {
		want[found[1]] = toolsVariable(found[1])
	}
	// So that the cache of the go command knows what the result depends on.
	if _, err := os.ReadFile(filepath.Join(root, "Makefile")); err != nil {
		t.Fatal(err)
	}
	dryRun := exec.CommandContext(t.Context(), "make", "--no-print-directory", "--dry-run", "-C", root,
		"test", "test-workloads", "bench")
	recipe, _, err := Output(dryRun)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, found := range provided.FindAllStringSubmatch(recipe, -1) {
		if found[1] == found[3] {
			got[found[2]] = found[1]
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("commands of test/tools, and their variables (-read by tests +set by make test):\n%s", diff)
	}
}
