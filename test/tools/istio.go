package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// istioCRDs returns the file with Istio's CustomResourceDefinitions, of the version of istio.io/api
// that the webhook itself is built with.
func istioCRDs(ctx context.Context) (string, error) {
	const module = "istio.io/api"
	dir, err := moduleDirectory(ctx, filepath.Join("..", ".."), module)
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "kubernetes", "customresourcedefinitions.gen.yaml")
	if _, err := os.Stat(file); err != nil {
		return "", fmt.Errorf("%s is not where Istio kept its CRDs until now: %w", module, err)
	}
	return file, nil
}

// gatewayCRDs returns the folder with the CustomResourceDefinitions of the Gateway API, of the
// version that istiod is built with.
func gatewayCRDs(ctx context.Context) (string, error) {
	const module = "sigs.k8s.io/gateway-api"
	dir, err := moduleDirectory(ctx, "istio", module)
	if err != nil {
		return "", err
	}
	folder := filepath.Join(dir, "config", "crd", "standard")
	if _, err := os.Stat(folder); err != nil {
		return "", fmt.Errorf("%s is not where the Gateway API kept its CRDs until now: %w", module, err)
	}
	return folder, nil
}

// moduleDirectory is the folder in the module cache with the sources of a module, at the version
// that the go.mod in dir has.
func moduleDirectory(ctx context.Context, dir, module string) (string, error) {
	quiet := func(int) {}
	list := []string{"list", "-m", "-f", "{{.Dir}}", module}
	directory, err := runGo(ctx, dir, quiet, list...)
	if err != nil || directory != "" {
		return directory, err
	}
	// Known, but not in the module cache.
	if _, err := runGo(ctx, dir, quiet, "mod", "download", module); err != nil {
		return "", err
	}
	return runGo(ctx, dir, quiet, list...)
}

// istioSources is Istio's module, and istioCharts the folder of the charts in it. It has the
// proxy's configuration too.
const (
	istioSources = "istio.io/istio"
	istioCharts  = "manifests/charts"
)

// moduleLink is the link in the cache entry to the sources of the module that the entry's programs
// are of.
func moduleLink(entry string) string { return filepath.Join(entry, "module") }

// provideSet returns the directory of a set's programs and of what a module has in a folder, and
// makes what is missing. links are the paths in the directory, by the entry of the cache.
func provideSet(
	ctx context.Context, progress io.Writer, name string, s set, module, folder string,
	links func(entry string) map[string]string,
) (string, error) {
	root, err := cacheRoot(os.Getenv)
	if err != nil {
		return "", err
	}
	programs, err := s.part(name)
	if err != nil {
		return "", err
	}
	p := withModule(programs, s, module, folder)
	if err := p.provide(ctx, root, progress); err != nil {
		return "", err
	}
	entry, unlock, err := enter(root, p.key, progress)
	if err != nil {
		return "", err
	}
	defer unlock()
	return link(entry, name+"-", links(entry))
}

// withModule adds to the part of a set's programs the link to the sources of a module, at the
// version that they are built of, for the files in this folder of it.
func withModule(programs part, s set, module, folder string) part {
	isThere := func(entry string) bool {
		info, err := os.Stat(filepath.Join(moduleLink(entry), folder))
		return err == nil && info.IsDir()
	}
	return part{
		name: programs.name,
		key:  programs.key,
		// The module cache may have been emptied since.
		complete: func(entry string) bool { return programs.complete(entry) && isThere(entry) },
		make: func(ctx context.Context, entry string, progress io.Writer) error {
			if err := programs.make(ctx, entry, progress); err != nil {
				return err
			}
			directory, err := moduleDirectory(ctx, s.module, module)
			if err != nil {
				return err
			}
			if err := os.Remove(moduleLink(entry)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if err := os.Symlink(directory, moduleLink(entry)); err != nil {
				return err
			}
			if !isThere(entry) {
				return fmt.Errorf("%s has no folder %s, where its files were until now", module, folder)
			}
			return nil
		},
	}
}
