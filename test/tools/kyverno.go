package main

import (
	"context"
	"io"
	"os"
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
	root, err := cacheRoot(os.Getenv)
	if err != nil {
		return "", err
	}
	programs, err := kyvernoSet().part("kyverno")
	if err != nil {
		return "", err
	}
	p := withModule(programs, kyvernoSet(), kyvernoModule, kyvernoManifests)
	if err := p.provide(ctx, root, progress); err != nil {
		return "", err
	}
	entry, unlock, err := enter(root, p.key, progress)
	if err != nil {
		return "", err
	}
	defer unlock()
	return link(entry, "kyverno-", kyvernoLinks(entry))
}

// kyvernoLinks is the content of the directory: each path in it, and what that stands for.
func kyvernoLinks(entry string) map[string]string {
	return map[string]string{
		"bin/kyverno":  filepath.Join(builtFolder(entry), "kyverno"),
		"install.yaml": filepath.Join(moduleLink(entry), kyvernoInstall),
	}
}
