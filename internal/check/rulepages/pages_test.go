package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mtls.egress/webhook/internal/check"
)

func TestPagesReplaceTheOldOnes(t *testing.T) {
	pages := t.TempDir()
	if err := os.WriteFile(filepath.Join(pages, "MTE999.md"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{filepath.Join("..", "testdata", "rules"), pages}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(pages)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	want := []string{"README.md"}
	for _, rule := range check.Rules() {
		want = append(want, rule.ID+".md")
	}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("pages %v, want %v", names, want)
	}
	page, err := os.ReadFile(filepath.Join(pages, "MTE304.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	if strings.Contains(text, "MII") || !strings.Contains(text, "error MTE304 private-key-mismatch") {
		t.Errorf("the page has the bytes of a certificate, or lacks the finding:\n%s", text)
	}
}
