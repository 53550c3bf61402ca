// Package docs holds the documents to what they say: their commands run, their links lead
// somewhere.
package docs

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mtls.egress/webhook/test/apiserver"
)

const root = "../.."

// ownTests are the documents whose commands a test of their own runs, on what they need.
func ownTests() map[string]string {
	return map[string]string{
		"docs/reference/egresstarget.md":   "TestBooks",
		"docs/how-to/emergency.md":         "TestBooks",
		"docs/how-to/adopt.md":             "test/mesh",
		"docs/how-to/pods-do-not-start.md": "TestBooks",
		"docs/how-to/operations.md":        "TestBooks",
		"docs/tutorials/first-call.md":     "TestBooks",
		"docs/how-to/call-a-partner.md":    "TestBooks",
		"docs/tutorials/spring-boot.md":    "TestBooks",
		"docs/how-to/upgrade.md":           "TestBooks",
		"examples/egress/README.md":        "test/demo",
		"examples/egresstarget/README.md":  "test/admission",
		"examples/cert-manager/README.md":  "test/certmanager",
	}
}

func TestCommandsOfTheDocumentsRun(t *testing.T) {
	programs := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build",
		"-o", filepath.Join(programs, "mtls-egress-webhook"), "./cmd/webhook")
	build.Dir = root
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	// The program is a kubectl plugin by its name.
	if err := os.Symlink("mtls-egress-webhook", filepath.Join(programs, "kubectl-mtls_egress")); err != nil {
		t.Fatal(err)
	}
	targets := makeTargets(t)
	cluster := startCluster(t, filepath.Join(programs, "mtls-egress-webhook"))
	partner := startPartner(t)
	for _, command := range commands(t) {
		t.Run(command.place+" "+command.line, func(t *testing.T) {
			words := strings.Fields(command.line)
			switch words[0] {
			case "make":
				// Running it here would run this test again: that the target is there has to do.
				if !slices.Contains(targets, words[1]) {
					t.Errorf("the Makefile has no target %s", words[1])
				}
			case "kubectl", "helm", "sh":
				if where := ownTests()[command.document]; where != "" {
					t.Skip(where, "runs it")
				}
				command.run(t, cluster, programs)
			case "mtls-egress-webhook":
				if where := ownTests()[command.document]; where != "" && words[1] == "adopt" {
					t.Skip(where, "runs it")
				}
				command.line = partner.reached(withExamples(command.line))
				command.run(t, cluster, programs)
			default:
				t.Errorf("nothing here can run %s", words[0])
			}
		})
	}
}

// startCluster returns an API server with the namespace that the documents mention, and in it the
// credential that they make of the example.
func startCluster(t *testing.T, binary string) *apiserver.Server {
	t.Helper()
	cluster := apiserver.ForTest(t)
	manifest := filepath.Join(t.TempDir(), "secret.yaml")
	load := exec.CommandContext(t.Context(), binary, "credential", "import", "examples/credential/keystore.p12",
		"--password-file", "examples/credential/password.txt", "--target", "external.system.com",
		"--server-ca", "examples/credential/server-ca.pem", "--output-file", manifest)
	load.Dir = root
	if _, _, err := apiserver.Output(load); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"create", "namespace", "project"}, {"apply", "--namespace", "project", "--filename", manifest},
	} {
		if _, _, err := cluster.Kubectl(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	return cluster
}

func TestLinksOfTheDocumentsLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, path := range documents(t) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range link.FindAllStringSubmatch(string(content), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), match[1])); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

func documents(t *testing.T) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".." && entry.Name() != "." {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".md") {
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d documents: %v", len(paths), err)
	}
	return paths
}

func makeTargets(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, match := range regexp.MustCompile(`(?m)^([a-z0-9-]+):.*## `).FindAllStringSubmatch(string(content), -1) {
		targets = append(targets, match[1])
	}
	return targets
}
