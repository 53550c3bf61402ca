package main

import (
	"context"
	"io"
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
	return provideSet(
		ctx, progress, "cert-manager", certManagerSet(), certManagerSources, certManagerChart, certManagerLinks,
	)
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
