package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// manifests are files or folders of a module from which only they are wanted, so that no go.mod
// requires it: that would bring some hundred modules. The checksum is as in a go.sum.
type manifests struct {
	module, sum string
	// path is relative to the module.
	path string
}

// download returns the path of the manifests. It downloads the module if it is missing.
func (m manifests) download(ctx context.Context) (string, error) {
	printed, err := runGo(ctx, os.TempDir(), func(int) {}, "mod", "download", "-json", m.module)
	if err != nil {
		return "", err
	}
	var module struct{ Dir, Sum string }
	if err := json.Unmarshal([]byte(printed), &module); err != nil {
		return "", fmt.Errorf("reading what go mod download says of %s: %w", m.module, err)
	}
	if module.Sum != m.sum {
		return "", fmt.Errorf("%s has the checksum %s, want %s", m.module, module.Sum, m.sum)
	}
	path := filepath.Join(module.Dir, filepath.FromSlash(m.path))
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s has its CRDs elsewhere: %w", m.module, err)
	}
	return path, nil
}

// prometheusCRDs returns the folder with the CustomResourceDefinitions of the Prometheus operator,
// a file for each.
func prometheusCRDs(ctx context.Context) (string, error) {
	return manifests{
		module: "github.com/prometheus-operator/prometheus-operator@v0.85.0",
		sum:    "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
		path:   "example/prometheus-operator-crd",
	}.download(ctx)
}

// workloadCRDs returns the files with the CustomResourceDefinitions of Argo Rollouts, Knative
// Services and JobSets, as a list like $PATH.
func workloadCRDs(ctx context.Context) (string, error) {
	var files []string
	for _, wanted := range workloadManifests() {
		file, err := wanted.download(ctx)
		if err != nil {
			return "", err
		}
		files = append(files, file)
	}
	return strings.Join(files, string(filepath.ListSeparator)), nil
}

func workloadManifests() []manifests {
	return []manifests{
		{
			module: argoRolloutsModule + "@v1.9.0",
			sum:    "h1:bXgBpwCByXyAUcgBnyP0fxkSW2CEot78InTFjFlag5g=",
			path:   argoRolloutsCRDs + "/rollout-crd.yaml",
		},
		{
			module: "knative.dev/serving@v0.51.0",
			sum:    "h1:yN2Q7eYqJgoPfZkATjoBZyGbZ2P1Qhns9HIMU4mF+to=",
			path:   "config/core/300-resources/service.yaml",
		},
		{
			module: jobSetModule + "@v0.10.1",
			sum:    "h1:u8QKifNsrWVrlRFe6w2ofYTqFT9ma2DRHxfeB2m9xyU=",
			path:   jobSetCRD,
		},
	}
}
