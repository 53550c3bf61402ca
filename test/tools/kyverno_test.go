package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKyvernoDirectory(t *testing.T) {
	want := map[string]string{
		"bin/kyverno":  "/cache/kyverno/built/kyverno",
		"install.yaml": "/cache/kyverno/module/config/install-latest-testing.yaml",
	}
	if got := kyvernoLinks("/cache/kyverno"); !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestTheDocumentNamesTheVersionOfKyverno(t *testing.T) {
	version, err := runGo(t.Context(), kyvernoSet().module, func(int) {},
		"list", "-m", "-f", "{{.Version}}", kyvernoModule)
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile(filepath.Join("..", "..", "docs", "project", "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "Kyverno is version " + strings.TrimPrefix(version, "v") + " "; !strings.Contains(string(document), want) {
		t.Errorf("performance.md lacks %q", want)
	}
}
