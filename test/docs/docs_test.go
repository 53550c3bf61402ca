// Package docs holds the documents to what they say: their commands run, their links lead somewhere.
package docs

import (
	"bufio"
	"fmt"
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

// command is one line of a shell block in a document. It runs where the document stands, those in docs at the top.
type command struct {
	dir   string
	place string
	words []string
}

func TestCommandsOfTheDocumentsRun(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "mtls-egress-webhook")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/webhook")
	build.Dir = root
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	targets := makeTargets(t)
	cluster := startCluster(t, binary)
	for _, command := range commands(t) {
		t.Run(command.place+" "+strings.Join(command.words, " "), func(t *testing.T) {
			switch command.words[0] {
			case "mtls-egress-webhook":
				run := exec.CommandContext(t.Context(), binary, command.words[1:]...)
				run.Dir = command.dir
				run.Env = apiserver.Environment(cluster.Kubeconfig, "")
				if output, err := run.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, output)
				}
			case "make":
				// Running it here would run this test again: that the target is there has to do.
				if !slices.Contains(targets, command.words[1]) {
					t.Errorf("the Makefile has no target %s", command.words[1])
				}
			case "kubectl", "helm":
				if strings.HasPrefix(command.place, "examples/") {
					t.Skip("test/admission, test/certmanager and test/demo run it")
				}
				run := cluster.Command(t.Context(), command.words[0], command.words[1:]...)
				run.Dir = command.dir
				if output, err := run.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, output)
				}
			default:
				t.Errorf("nothing here can run %s", command.words[0])
			}
		})
	}
}

// startCluster returns an API server with the namespace that the documents speak of, and in it the credential that they make of the example.
func startCluster(t *testing.T, binary string) *apiserver.Server {
	t.Helper()
	cluster := apiserver.ForTest(t)
	manifest := filepath.Join(t.TempDir(), "secret.yaml")
	load := exec.CommandContext(t.Context(), binary, "credential", "import", "examples/credential/keystore.p12", "--password-file", "examples/credential/password.txt",
		"--target", "external.system.com", "--server-ca", "examples/credential/server-ca.pem", "--output-file", manifest)
	load.Dir = root
	if _, _, err := apiserver.Output(load); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"create", "namespace", "project"}, {"apply", "--namespace", "project", "--filename", manifest}} {
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

// commands returns the lines of all blocks that are marked sh. Lines that end in a backslash go on.
func commands(t *testing.T) []command {
	t.Helper()
	var found []command
	for _, path := range documents(t) {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		inBlock, joined := false, ""
		scanner := bufio.NewScanner(file)
		for number := 1; scanner.Scan(); number++ {
			line := strings.TrimSpace(scanner.Text())
			switch {
			case strings.HasPrefix(line, "```"):
				inBlock = line == "```sh"
			case inBlock && strings.HasSuffix(line, `\`):
				joined += strings.TrimSuffix(line, `\`)
			case inBlock && line != "" && !strings.HasPrefix(line, "#"):
				found = append(found, command{strings.TrimSuffix(filepath.Dir(path), "/docs"), fmt.Sprintf("%s:%d", strings.TrimPrefix(path, root+"/"), number), strings.Fields(joined + line)})
				joined = ""
			}
		}
		if err := scanner.Err(); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(found) == 0 {
		t.Fatal("no commands found")
	}
	return found
}

func makeTargets(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, match := range regexp.MustCompile(`(?m)^([a-z-]+):.*## `).FindAllStringSubmatch(string(content), -1) {
		targets = append(targets, match[1])
	}
	return targets
}
