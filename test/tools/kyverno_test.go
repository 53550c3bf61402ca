package main

import (
	"maps"
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
