package docs

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mtls.egress/webhook/test/apiserver"
)

// command is one line of a shell block in a document.
type command struct {
	// document is the file, as from the top of the project, and heading the one above the block.
	document, heading string
	// place is the document and the number of the line.
	place string
	// dir is where it runs: the folder of the document, or the top of the project for those in docs.
	dir  string
	line string
}

// run runs the command as the user's shell would, with the kubectl and helm of the cluster, and the
// programs of a directory.
func (c command) run(t *testing.T, cluster *apiserver.Server, programs string) (stdout string) {
	t.Helper()
	stdout, err := c.try(t, cluster, programs)
	if err != nil {
		t.Error(err)
	}
	return stdout
}

func (c command) try(t *testing.T, cluster *apiserver.Server, programs string) (stdout string, err error) {
	t.Helper()
	shell := exec.CommandContext(t.Context(), "/bin/sh", "-c", c.line)
	shell.Dir = c.dir
	shell.Env = append(
		apiserver.Environment(cluster.Kubeconfig, cluster.Dir),
		"PATH="+strings.Join([]string{filepath.Join(cluster.Dir, "assets"), programs, os.Getenv("PATH")},
			string(os.PathListSeparator)),
	)
	stdout, _, err = apiserver.Output(shell)
	if err != nil {
		err = fmt.Errorf("%s: %w", c.place, err)
	}
	return stdout, err
}

// installing is the document whose commands install the chart, which others need.
const installing = root + "/docs/how-to/install.md"

// commands returns the lines of all blocks that are marked sh, of all documents, the installation
// first. Lines that end in a backslash go on.
func commands(t *testing.T) []command {
	t.Helper()
	var found []command
	paths := slices.DeleteFunc(documents(t), func(path string) bool { return path == installing })
	for _, path := range append([]string{installing}, paths...) {
		found = append(found, commandsOf(t, path)...)
	}
	if len(found) == 0 {
		t.Fatal("no commands found")
	}
	return found
}

// commandsOf returns those of one document.
func commandsOf(t *testing.T, path string) []command {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }() // it was only read
	var found []command
	document, dir := strings.TrimPrefix(path, root+"/"), filepath.Dir(path)
	if strings.HasPrefix(document, "docs/") {
		dir = root
	}
	inBlock, inShell, heading, joined := false, false, "", ""
	scanner := bufio.NewScanner(file)
	for number := 1; scanner.Scan(); number++ {
		line := strings.TrimSpace(scanner.Text())
		switch {
		case strings.HasPrefix(line, "```"):
			inBlock, inShell = !inBlock, line == "```sh"
		case !inBlock && strings.HasPrefix(line, "#"):
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		case inShell && strings.HasSuffix(line, `\`):
			joined += strings.TrimSuffix(line, `\`)
		case inShell && line != "" && !strings.HasPrefix(line, "#"):
			found = append(found, command{
				document: document, heading: heading, place: fmt.Sprintf("%s:%d", document, number), dir: dir, line: joined + line,
			})
			joined = ""
		}
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}
