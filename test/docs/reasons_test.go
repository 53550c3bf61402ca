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
