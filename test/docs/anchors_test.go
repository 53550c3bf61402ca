package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

func TestLinksLeadToHeadings(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]*)#([^)]+)\)`)
	for _, path := range documents(t) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range link.FindAllStringSubmatch(string(content), -1) {
			into := path
			if match[1] != "" {
				into = filepath.Join(filepath.Dir(path), match[1])
			}
			if there := anchors(t, into); !slices.Contains(there, match[2]) {
				t.Errorf("%s: %s has no heading #%s, only %q", path, into, match[2], there)
			}
		}
	}
}

// TestLinksLeadToFiles follows the links within the project, to pictures as well.
func TestLinksLeadToFiles(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:\s]+)[)#]`)
	found := 0
	for _, path := range documents(t) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range link.FindAllStringSubmatch(string(content), -1) {
			found++
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), match[1])); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	if found == 0 {
		t.Error("no document has a link")
	}
}

// TestAlertsLeadToHeadings compares the names of the chart's alerts with the headings of
// docs/reference/alerts.md.
func TestAlertsLeadToHeadings(t *testing.T) {
	rules, err := os.ReadFile(filepath.Join(root, "charts", "mtls-egress-webhook", "templates", "prometheusrule.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	alerts := regexp.MustCompile(`- alert: (\S+)`).FindAllStringSubmatch(string(rules), -1)
	if len(alerts) == 0 {
		t.Fatal("no alerts found")
	}
	there := anchors(t, filepath.Join(root, "docs", "reference", "alerts.md"))
	for _, alert := range alerts {
		// The chart appends this to prometheusRule.runbookURL.
		if link := strings.ToLower(alert[1]); !slices.Contains(there, link) {
			t.Errorf("docs/reference/alerts.md has no heading #%s for an alert, only %q", link, there)
		}
	}
}

// anchors are those of a document's headings, as GitHub makes them: lower case, no punctuation,
// hyphens for blanks.
func anchors(t *testing.T, path string) []string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	inBlock := false
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, "```") {
			inBlock = !inBlock
		}
		heading := strings.TrimLeft(line, "#")
		if inBlock || heading == line {
			continue
		}
		found = append(found, strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, strings.TrimSpace(heading)))
	}
	return found
}
