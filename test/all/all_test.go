// Package all tests the script that `make test` runs: all.sh.
package all

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The sources of tests.
const (
	passes = "package p\n\nimport \"testing\"\n\nfunc TestGood(*testing.T) {}\n"
	fails  = passes + "\nfunc TestBad(t *testing.T) {\n\tt.Run(\"a case\", func(t *testing.T) { t.Error(\"no\") })\n}\n"
	// failsOverIPv6 fails on a node with IPv6 addresses only.
	failsOverIPv6 = "package p\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nfunc TestBad(t *testing.T) {\n" +
		"\tif os.Getenv(\"MTLS_EGRESS_NODE_FAMILY\") == \"ipv6\" {\n\t\tt.Error(\"no\")\n\t}\n}\n"
	// failsOnOldest fails on one of the other API servers.
	failsOnOldest = "package p\n\nimport (\n\t\"os\"\n\t\"strings\"\n\t\"testing\"\n)\n\nfunc TestBad(t *testing.T) {\n" +
		"\tif strings.HasSuffix(os.Getenv(\"MTLS_EGRESS_ASSETS\"), \"/oldest\") {\n\t\tt.Error(\"no\")\n\t}\n}\n"
	// server is a kube-apiserver that only tells its version.
	server   = "#!/bin/sh\nfolder=${0%/*}\necho Kubernetes of ${folder##*/}\n"
	compiles = "package p\n\nfunc main() { is no program }\n"
	module   = "module m\n\ngo 1.26\n"
)

// whole is a project in which everything passes.
func whole() map[string]string {
	return map[string]string{
		"go.mod":                    "module project\n\ngo 1.26\n",
		"internal/a/a_test.go":      passes,
		"test/b/b_test.go":          passes,
		"test/mesh/mesh_test.go":    passes,
		"release/go.mod":            module,
		"release/deep/deep_test.go": passes,
		"test/own/go.mod":           module,
		"test/own/own_test.go":      passes,
		"test/own/server/server.go": compiles,
	}
}

func TestAllTestsRunAndAllFailuresAreListedAtTheEnd(t *testing.T) {
	const bad = "\n    TestBad\n    TestBad/a_case\n"
	tests := map[string]struct {
		changed map[string]string
		node    string
		others  []string // API servers besides the ordinary one
		passed  []string // packages, in their order
		failed  string   // what the output has behind FAILED
	}{
		"some packages run on other API servers": {
			node: "here", others: []string{"oldest", "newest"},
			passed: []string{
				"project/internal/a", "project/test/b", "project/test/b", "m/deep", "m", "project/test/mesh", "project/test/mesh",
			},
		},
		"one fails on one of the other API servers": {
			node: "here", others: []string{"oldest", "newest"}, changed: map[string]string{"test/b/b_test.go": failsOnOldest},
			passed: []string{
				"project/internal/a", "project/test/b", "m/deep", "m", "project/test/mesh", "project/test/mesh",
			},
			failed: "  project/test/b on Kubernetes of oldest\n    TestBad\n",
		},
		"everything passes": {
			node: "here", passed: []string{
				"project/internal/a", "project/test/b", "m/deep", "m", "project/test/mesh", "project/test/mesh",
			},
		},
		"one fails over IPv6 only": {
			node: "here", changed: map[string]string{"test/mesh/mesh_test.go": failsOverIPv6},
			passed: []string{"project/internal/a", "project/test/b", "m/deep", "m", "project/test/mesh"},
			failed: "  project/test/mesh over IPv6\n    TestBad\n",
		},
		"without a node, the tests on one are skipped": {
			passed: []string{"project/internal/a", "project/test/b", "m/deep", "m"},
		},
		"the first package fails": {
			node: "here", changed: map[string]string{"internal/a/a_test.go": fails},
			passed: []string{"project/test/b", "m/deep", "m", "project/test/mesh", "project/test/mesh"},
			failed: "  project/internal/a" + bad,
		},
		"a package doesn't compile": {
			node: "here", changed: map[string]string{"internal/a/a_test.go": compiles},
			passed: []string{"project/test/b", "m/deep", "m", "project/test/mesh", "project/test/mesh"},
			failed: "  project/internal/a [setup failed]\n",
		},
		"one fails of each kind": {
			node: "here", changed: map[string]string{
				"test/b/b_test.go": fails, "release/deep/deep_test.go": fails, "test/mesh/mesh_test.go": fails,
			},
			passed: []string{"project/internal/a", "m"},
			failed: "  project/test/b" + bad + "  m/deep" + bad + "  project/test/mesh" + bad +
				"  project/test/mesh over IPv6" + bad,
		},
		"the tests on a node don't compile": {
			node: "here", changed: map[string]string{"test/mesh/mesh_test.go": compiles},
			passed: []string{"project/internal/a", "project/test/b", "m/deep", "m"},
			failed: "  project/test/mesh [setup failed]\n  project/test/mesh [setup failed] over IPv6\n",
		},
		"a module can't be read": {
			node: "here", changed: map[string]string{"release/go.mod": "nonsense\n"},
			passed: []string{"project/internal/a", "project/test/b", "m", "project/test/mesh", "project/test/mesh"},
			failed: "  go -C release/deep test -timeout 30m .\n",
		},
	}
	script, err := os.ReadFile("all.sh")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			files := whole()
			files["all.sh"] = string(script)
			maps.Copy(files, test.changed)
			for _, other := range test.others {
				files[other+"/kube-apiserver"] = server
			}
			cmd := exec.CommandContext(t.Context(), "./all.sh", "project/test/mesh", "project/test/mesh", "project/test/b")
			cmd.Dir = project(t, files)
			var others []string
			for _, other := range test.others {
				others = append(others, filepath.Join(cmd.Dir, other))
			}
			cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "KUBECONFIG=", "MTLS_EGRESS_NODE="+test.node,
				"MTLS_EGRESS_OTHER_ASSETS="+strings.Join(others, ":"))
			output, err := cmd.CombinedOutput()
			if _, exited := errors.AsType[*exec.ExitError](err); exited != (test.failed != "") || err != nil && !exited {
				t.Errorf("it ended with %v", err)
			}
			var passed []string
			for line := range strings.Lines(string(output)) {
				if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "ok" {
					passed = append(passed, fields[1])
				}
			}
			if diff := cmp.Diff(test.passed, passed); diff != "" {
				t.Errorf("packages that passed (-want +got):\n%s", diff)
			}
			if _, end, _ := strings.Cut(string(output), "\nFAILED:\n"); end != test.failed {
				t.Errorf("at the end stand the failures\n%s\nwant\n%s", end, test.failed)
			}
			if skipped := strings.Contains(string(output), "SKIPPED: "); skipped != (test.node == "") {
				t.Errorf("tests were skipped: %t, with the node %q", skipped, test.node)
			}
			if t.Failed() {
				t.Logf("%s", output)
			}
		})
	}
}

// project writes files into a new folder and returns it.
func project(t *testing.T, files map[string]string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	for name, content := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}
