package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
)

// certManagerSources is cert-manager's module, and certManagerChart the folder of the chart in it.
const (
	certManagerSources = "github.com/cert-manager/cert-manager"
	certManagerChart   = "deploy/charts/cert-manager"
)

// certManager returns the directory that holds cert-manager's programs and its chart, and makes
// what is missing.
func certManager(ctx context.Context, progress io.Writer) (string, error) {
	root, err := cacheRoot(os.Getenv)
	if err != nil {
		return "", err
	}
	programs, err := certManagerSet().part("cert-manager")
	if err != nil {
		return "", err
	}
	p := withModule(programs, certManagerSet(), certManagerSources, certManagerChart)
	if err := p.provide(ctx, root, progress); err != nil {
		return "", err
	}
	entry, unlock, err := enter(root, p.key, progress)
	if err != nil {
		return "", err
	}
	defer unlock()
	return link(entry, "cert-manager-", certManagerLinks(entry))
}

// certManagerLinks is the content of the directory: each path in it, and what that stands for.
func certManagerLinks(entry string) map[string]string {
	links := map[string]string{"chart": filepath.Join(moduleLink(entry), certManagerChart)}
	for _, p := range certManagerSet().programs {
		for _, name := range p.names {
			links["bin/"+name] = filepath.Join(builtFolder(entry), p.name)
		}
	}
	return links
}
