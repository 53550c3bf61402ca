package main

import (
	"context"
	"io"
	"path/filepath"
)

// kyvernoModule is Kyverno's module, and kyvernoInstall the file in it with what its chart renders
// with the default values, CustomResourceDefinitions included.
const (
	kyvernoModule    = "github.com/kyverno/kyverno"
	kyvernoManifests = "config"
	kyvernoInstall   = kyvernoManifests + "/install-latest-testing.yaml"
)

// kyverno returns the directory that holds Kyverno's admission controller and its manifests, and
// makes what is missing.
func kyverno(ctx context.Context, progress io.Writer) (string, error) {
	return provideSet(ctx, progress, "kyverno", kyvernoSet(), kyvernoModule, kyvernoManifests, kyvernoLinks)
}

// kyvernoLinks is the content of the directory: each path in it, and what that stands for.
func kyvernoLinks(entry string) map[string]string {
	return map[string]string{
		"bin/kyverno":  filepath.Join(builtFolder(entry), "kyverno"),
		"install.yaml": filepath.Join(moduleLink(entry), kyvernoInstall),
	}
}
