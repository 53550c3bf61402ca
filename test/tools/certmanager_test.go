package main

import (
	"maps"
	"path/filepath"
	"testing"
)

func TestCertManagerDirectory(t *testing.T) {
	want := map[string]string{
		"bin/cert-manager-cainjector": "/cache/certmanager/built/cert-manager",
		"bin/cert-manager-controller": "/cache/certmanager/built/cert-manager",
		"bin/cert-manager-webhook":    "/cache/certmanager/built/cert-manager",
		"chart":                       "/cache/certmanager/module/deploy/charts/cert-manager",
	}
	if got := certManagerLinks("/cache/certmanager"); !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestCertManagerIsOfTheVersionThatTheWebhookKnows(t *testing.T) {
	versions := map[string]string{}
	for _, module := range []string{certManagerSet().module, filepath.Join("..", "..")} {
		version, err := runGo(t.Context(), module, func(int) {}, "list", "-m", "-f", "{{.Version}}", certManagerSources)
		if err != nil {
			t.Fatal(err)
		}
		versions[module] = version
	}
	if versions["certmanager"] != versions["../.."] {
		t.Errorf("versions %v of %s: want the same in both go.mod", versions, certManagerSources)
	}
}
