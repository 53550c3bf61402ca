package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// kubernetesModule is Kubernetes itself, and apiserverPackage its API server.
const (
	kubernetesModule = "k8s.io/kubernetes"
	apiserverPackage = kubernetesModule + "/cmd/kube-apiserver"
)

// otherKubernetes are the releases of Kubernetes, by their minor version, whose API servers `make
// test-matrix` runs besides the one in go.mod: from the oldest that the chart supports to the
// newest.
func otherKubernetes() map[string]string {
	return map[string]string{
		"1.31": "v1.31.13",
		"1.32": "v1.32.13",
		"1.33": "v1.33.13",
		"1.34": "v1.34.4",
		"1.35": "v1.35.4",
		"1.37": "v1.37.2",
	}
}

// assetsOf returns a directory like that of assets, with the API server of another minor version,
// which is always built from source, so that everybody tests the same release. Without a version it
// is assets.
func assetsOf(ctx context.Context, minor string, progress io.Writer) (string, error) {
	if minor == "" {
		return assets(ctx, progress)
	}
	release, known := otherKubernetes()[minor]
	if !known {
		return "", fmt.Errorf("unknown Kubernetes version %q: write one of %s, or none for the version in go.mod", minor,
			strings.Join(slices.Sorted(maps.Keys(otherKubernetes())), ", "))
	}
	ordinary, err := assets(ctx, progress)
	if err != nil {
		return "", err
	}
	root, err := cacheRoot(os.Getenv)
	if err != nil {
		return "", err
	}
	flags, err := linkFlags(versions{kubernetes: release})
	if err != nil {
		return "", err
	}
	key := keyOf("kube-apiserver", release, flags, runtime.GOOS+"/"+runtime.GOARCH)
	entry, unlock, err := enter(root, key, progress)
	if err != nil {
		return "", err
	}
	defer unlock()
	apiserver := program{name: "kube-apiserver", path: apiserverPackage}
	if !isProgram(filepath.Join(builtFolder(entry), apiserver.name)) {
		if err := buildAlone(ctx, entry, apiserver, release, flags, progress); err != nil {
			return "", err
		}
	}
	links, _ := linkSet("", ordinary, func(string) bool { return true })
	links[apiserver.name] = filepath.Join(builtFolder(entry), apiserver.name)
	return link(entry, "assets-", links)
}

// buildAlone builds a program of a release of Kubernetes with the modules of that release.
func buildAlone(ctx context.Context, entry string, p program, release, flags string, progress io.Writer) error {
	module, err := os.MkdirTemp(entry, temporary)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(module) }()
	begin := time.Now()
	tellf(progress, "Kubernetes %s: downloading its modules\n", release)
	if err := moduleOf(ctx, module, release, func(modules int) {
		tellf(progress, "Kubernetes %s: %d modules downloaded, %s\n", release, modules, since(begin))
	}); err != nil {
		return err
	}
	if err := os.MkdirAll(builtFolder(entry), 0o755); err != nil {
		return err
	}
	return compile(ctx, module, builtFolder(entry), p, flags, "Kubernetes "+release, progress)
}

// moduleOf writes into an empty folder a module that builds what a release of Kubernetes does. Its
// go.mod is the release's own, which pins all modules. It has no versions for the
// modules in its folder staging: they are published with the release's numbers below v0.
func moduleOf(ctx context.Context, folder, release string, report func(modules int)) error {
	downloaded, err := runGo(ctx, folder, report, "mod", "download", "-json", kubernetesModule+"@"+release)
	if err != nil {
		return err
	}
	var module struct{ GoMod string }
	if err := json.Unmarshal([]byte(downloaded), &module); err != nil {
		return err
	}
	content, err := os.ReadFile(module.GoMod)
	if err != nil {
		return err
	}
	parsed, err := runGo(ctx, folder, report, "mod", "edit", "-json", module.GoMod)
	if err != nil {
		return err
	}
	edits, err := moduleEdits([]byte(parsed), release)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "go.mod"), content, 0o644); err != nil {
		return err
	}
	if _, err := runGo(ctx, folder, report, slices.Concat([]string{"mod", "edit"}, edits)...); err != nil {
		return err
	}
	// This downloads the modules of the packages that are compiled, and writes go.sum.
	_, err = runGo(ctx, folder, report, "list", "-mod=mod", "-deps", "-f", "{{.ImportPath}}", apiserverPackage)
	return err
}

// moduleEdits are the flags of `go mod edit` that make the module of moduleOf out of a release's
// own go.mod, which is given as `go mod edit -json` prints it.
func moduleEdits(parsed []byte, release string) ([]string, error) {
	var module struct {
		Require []struct{ Path, Version string }
		Replace []struct{ Old struct{ Path string } }
	}
	if err := json.Unmarshal(parsed, &module); err != nil {
		return nil, err
	}
	edits := []string{"-module=kube-apiserver", "-require=" + kubernetesModule + "@" + release}
	for _, replaced := range module.Replace {
		edits = append(edits, "-dropreplace="+replaced.Old.Path)
	}
	for _, required := range module.Require {
		if required.Version == "v0.0.0" {
			edits = append(edits, "-require="+required.Path+"@v0."+strings.TrimPrefix(release, "v1."))
		}
	}
	return edits, nil
}
