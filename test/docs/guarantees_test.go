package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mtls.egress/webhook/test/mesh/evidence"
)

// TestGuaranteesAreShownByTests reads the table that the tests of the data path made; that they
// still make the same, they check themselves.
func TestGuaranteesAreShownByTests(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(root, "docs", "project", "guarantees.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := evidence.Table(string(content))
	if err != nil {
		t.Fatalf("docs/project/guarantees.md, written by make guarantees: %v", err)
	}
	tests := meshTests(t)
	shown := map[string]bool{}
	for _, row := range rows {
		shown[row.Promise] = true
		if !slices.Contains(tests, row.Test) {
			t.Errorf("%s, %s: test/mesh has no test %s", row.Promise, row.Fault, row.Test)
		}
		if row.PlaintextBytes != 0 || row.Requests <= 0 || row.Failed < 0 || row.Failed > row.Requests {
			t.Errorf("%s, %s: %d bytes in plain text, %d of %d requests failed",
				row.Promise, row.Fault, row.PlaintextBytes, row.Failed, row.Requests)
		}
	}
	for _, promise := range evidence.Promises() {
		if !shown[promise] {
			t.Errorf("no row shows %q", promise)
		}
		if !strings.Contains(string(content), "\n## "+promise+"\n") {
			t.Errorf("docs/project/guarantees.md has no heading %q", promise)
		}
	}
}

// meshTests are the names of the tests in test/mesh.
func meshTests(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "test", "mesh", "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files of tests, error %v", len(files), err)
	}
	var names []string
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range parsed.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok && function.Recv == nil &&
				strings.HasPrefix(function.Name.Name, "Test") {
				names = append(names, function.Name.Name)
			}
		}
	}
	return names
}
