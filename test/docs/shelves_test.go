package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// mostWords is how long a page for users may be. Longer ones are split, or their tables go to the
// reference.
const mostWords = 1500

// shelves are the folders of the documents. Those for users hold tasks only.
func shelves() (forUsers, others []string) {
	return []string{"tutorials", "how-to"}, []string{"reference", "project"}
}

func TestPagesForUsersAreShort(t *testing.T) {
	forUsers, _ := shelves()
	for _, path := range pagesIn(t, forUsers...) {
		content := read(t, path)
		if words := len(strings.Fields(content)); words > mostWords {
			t.Errorf("%s has %d words: at most %d", path, words, mostWords)
		}
		if named := names(content, "`(Test[A-Z]\\w+)`"); len(named) > 0 {
			t.Errorf("%s names the tests %q: say what is tested", path, named)
		}
	}
}

func TestEveryPageIsOnAShelf(t *testing.T) {
	forUsers, others := shelves()
	onShelves := len(pagesIn(t, append(forUsers, others...)...))
	all := 0
	for _, path := range documents(t) {
		if strings.HasPrefix(path, root+"/docs/") {
			all++
		}
	}
	if all != onShelves+1 {
		t.Errorf("%d pages are in docs, %d of them on a shelf: only docs/index.md may be beside the shelves", all, onShelves)
	}
}

// TestWhatUsersTypeIsAHeading looks for the errors that users copy into a search.
func TestWhatUsersTypeIsAHeading(t *testing.T) {
	content := read(t, root+"/docs/how-to/calls-fail.md")
	headings := strings.Join(names(content, `(?m)^## (.*)$`), "\n")
	for _, typed := range []string{
		"503 Service Unavailable", "400 Bad Request", "calls https", "plain text", "Timeout", "Connection refused",
		"x509: certificate signed by unknown authority", "x509: certificate is valid for",
		"x509: certificate has expired or is not yet valid", "tls: bad certificate",
	} {
		if !strings.Contains(headings, typed) {
			t.Errorf("docs/how-to/calls-fail.md has no heading with %q", typed)
		}
	}
	for _, text := range []string{
		"PKIX path building failed", "unable to get local issuer certificate", "No required SSL certificate was sent",
	} {
		if !strings.Contains(content, text) {
			t.Errorf("docs/how-to/calls-fail.md does not mention %q", text)
		}
	}
}

func TestTheStepsOfTheWorkflowAreThoseOfTheExample(t *testing.T) {
	workflow := read(t, root+"/examples/check/github-workflow.yaml")
	_, steps, found := strings.Cut(workflow, "\n    steps:\n")
	if !found || !strings.Contains(read(t, root+"/docs/how-to/check.md"), "```yaml\n    steps:\n"+steps+"```\n") {
		t.Errorf("docs/how-to/check.md shows other steps than examples/check/github-workflow.yaml:\n%s", steps)
	}
}

// TestTheStartPageLeadsToEveryPage holds for the pages for users, and for the other shelves apart
// from the pages of single rules and decisions.
func TestTheStartPageLeadsToEveryPage(t *testing.T) {
	start := read(t, root+"/docs/index.md")
	forUsers, others := shelves()
	for _, path := range pagesIn(t, append(forUsers, others...)...) {
		page := strings.TrimPrefix(path, root+"/docs/")
		if regexp.MustCompile(`/(MTE\d+|\d{4}-.*)\.md$`).MatchString(page) {
			continue
		}
		if !strings.Contains(start, "("+page+")") {
			t.Errorf("docs/index.md does not lead to %s", page)
		}
	}
}

func pagesIn(t *testing.T, shelves ...string) []string {
	t.Helper()
	var paths []string
	for _, shelf := range shelves {
		found := 0
		for _, path := range documents(t) {
			if strings.HasPrefix(path, filepath.Join(root, "docs", shelf)+"/") {
				paths = append(paths, path)
				found++
			}
		}
		if found == 0 {
			t.Errorf("docs/%s has no page", shelf)
		}
	}
	return paths
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestMarkdownReadsTheSameInTheSite finds what GitHub renders and the site doesn't: a list right
// below a line of text, and a block in a list that is indented by less than four spaces.
func TestMarkdownReadsTheSameInTheSite(t *testing.T) {
	item := regexp.MustCompile(`^([-*]|\d+\.) `)
	for _, path := range documents(t) {
		if !strings.HasPrefix(path, root+"/docs/") {
			continue
		}
		inBlock, inList, before := false, false, ""
		for n, line := range strings.Split(read(t, path), "\n") {
			text := strings.TrimLeft(line, " ")
			indent := len(line) - len(text)
			switch {
			case strings.HasPrefix(text, "```"):
				if !inBlock && indent%4 != 0 {
					t.Errorf("%s:%d: indent the block by four spaces", path, n+1)
				}
				inBlock = !inBlock
			case inBlock:
			case item.MatchString(line):
				if before != "" && !inList {
					t.Errorf("%s:%d: put an empty line before the list", path, n+1)
				}
				inList = true
			case indent == 0 && text != "" && before == "":
				inList = false
			}
			before = text
		}
	}
}
