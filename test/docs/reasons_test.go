package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// reasonPages are the pages below docs with a heading for each reason.
func reasonPages() []string {
	return []string{"reference/conditions.md", "reference/response-flags.md", "how-to/pods-do-not-start.md"}
}

// TestEveryReasonHasAHeading compares the reasons of conditions and events in the code with the
// headings of the pages that explain them.
func TestEveryReasonHasAHeading(t *testing.T) {
	var described []string
	for _, page := range reasonPages() {
		document, err := os.ReadFile(filepath.Join(root, "docs", page))
		if err != nil {
			t.Fatal(err)
		}
		for _, heading := range regexp.MustCompile("(?m)^#+ (.*`.*)$").FindAllStringSubmatch(string(document), -1) {
			for _, word := range regexp.MustCompile("`([A-Z][A-Za-z]+)`").FindAllStringSubmatch(heading[1], -1) {
				described = append(described, word[1])
			}
		}
	}
	inCode := reasonsInCode(t)
	for _, reason := range inCode {
		if !slices.Contains(described, reason) {
			t.Errorf("%q have no heading with `%s`", reasonPages(), reason)
		}
	}
	for at, reason := range described {
		if slices.Index(described, reason) != at {
			t.Errorf("%q have two headings with `%s`", reasonPages(), reason)
		}
		if !slices.Contains(inCode, reason) && !slices.Contains(reasonsOfOthers(), reason) {
			t.Errorf("%q have a heading with `%s`, which the code doesn't say", reasonPages(), reason)
		}
	}
}

// TestEveryReasonHasAnAnchor: the dashboard links to a reason as it is written. The anchor of a
// heading is in lower case, and has all reasons of the heading.
func TestEveryReasonHasAnAnchor(t *testing.T) {
	document, err := os.ReadFile(filepath.Join(root, "docs", "reference", "conditions.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	sections := regexp.MustCompile(`(?m)((?:^<a id=.*\n)*)\n?^## (.*)$`)
	for _, section := range sections.FindAllStringSubmatch(string(document), -1) {
		var want, got []string
		for _, word := range regexp.MustCompile("`([A-Z][A-Za-z]+)`").FindAllStringSubmatch(section[2], -1) {
			want = append(want, word[1])
		}
		if section[2] == "The target isn't processed" {
			want = []string{"NotProcessed"} // what the dashboard says without a reason
		}
		for _, anchor := range regexp.MustCompile(`<a id="([^"]*)"></a>`).FindAllStringSubmatch(section[1], -1) {
			got = append(got, anchor[1])
		}
		found += len(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the anchors before the heading %q (-want +got):\n%s", section[2], diff)
		}
	}
	if found == 0 {
		t.Error("docs/reference/conditions.md has no anchor")
	}
}

// reasonsOfOthers are what Kubernetes and Envoy say and the document has headings for.
func reasonsOfOthers() []string {
	return []string{
		"FailedMount", "UF", "UC", "NC", "UH", "NR", "UT", "URX", "DC", "DPE", "UPE", "BlackHoleCluster",
		"PassthroughCluster",
	}
}

// unseen is a reason that no status and no event has: when the controller stops, it ends its own
// handshakes and doesn't report them.
const unseen = "ProbeInterrupted"

// reasonsInCode are the texts that the controller gives to something called a reason, the reasons
// of credentials that are refused, and those of handshakes.
func reasonsInCode(t *testing.T) []string {
	t.Helper()
	var reasons []string
	for _, room := range []string{
		"api/v1alpha1", "internal/plan", "internal/issuance", "internal/controller", "internal/certs/credential",
		"internal/verify",
	} {
		files, err := filepath.Glob(filepath.Join(root, room, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, error %v", room, len(files), err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(node ast.Node) bool {
				reasons = append(reasons, reasonsOf(node)...)
				return true
			})
		}
	}
	slices.Sort(reasons)
	reasons = slices.DeleteFunc(slices.Compact(reasons), func(reason string) bool { return reason == unseen })
	if len(reasons) < 20 {
		t.Fatalf("only %d reasons found: %q; has the code another form?", len(reasons), reasons)
	}
	return reasons
}

// reasonsOf are the reasons in one declaration, assignment or field.
func reasonsOf(node ast.Node) []string {
	var reasons []string
	take := func(name string, value ast.Expr) {
		if literal, ok := value.(*ast.BasicLit); ok && strings.HasPrefix(strings.ToLower(name), "reason") &&
			literal.Kind == token.STRING {
			if text, err := strconv.Unquote(literal.Value); err == nil && text != "" {
				reasons = append(reasons, text)
			}
		}
	}
	switch node := node.(type) {
	case *ast.ValueSpec:
		kind, _ := node.Type.(*ast.Ident)
		for at, value := range node.Values {
			name := node.Names[at].Name
			if kind != nil && kind.Name == "Reason" {
				name = kind.Name
			}
			take(name, value)
		}
	case *ast.KeyValueExpr:
		if key, ok := node.Key.(*ast.Ident); ok {
			take(key.Name, node.Value)
		}
	case *ast.AssignStmt:
		for at, left := range node.Lhs {
			if at >= len(node.Rhs) {
				break
			}
			switch left := left.(type) {
			case *ast.SelectorExpr:
				take(left.Sel.Name, node.Rhs[at])
			case *ast.Ident:
				take(left.Name, node.Rhs[at])
			}
		}
	}
	return reasons
}
