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

// istioCRDs returns the file with Istio's CustomResourceDefinitions, of the version of istio.io/api that the webhook itself is built with.
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

// moduleDirectory is the folder in the module cache with the sources of a module, at the version that the go.mod in dir has.
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

// istioCharts is the folder of Istio's charts in its module.
const istioCharts = "manifests/charts"

// istioModule is the link in the cache entry to the sources of Istio.
func istioModule(entry string) string { return filepath.Join(entry, "module") }

// withModule adds to the part of Istio's programs the link to its sources, in which charts and the proxy's configuration are.
func withModule(programs part) part {
	charts := func(entry string) bool {
		info, err := os.Stat(filepath.Join(istioModule(entry), istioCharts))
		return err == nil && info.IsDir()
	}
	return part{
		name: programs.name,
		key:  programs.key,
		// The module cache may have been emptied since.
		complete: func(entry string) bool { return programs.complete(entry) && charts(entry) },
		make: func(ctx context.Context, entry string, progress io.Writer) error {
			if err := programs.make(ctx, entry, progress); err != nil {
				return err
			}
			const module = "istio.io/istio"
			directory, err := moduleDirectory(ctx, istioSet().module, module)
			if err != nil {
				return err
			}
			if err := os.Remove(istioModule(entry)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if err := os.Symlink(directory, istioModule(entry)); err != nil {
				return err
			}
			if !charts(entry) {
				return fmt.Errorf("%s has no folder %s, where Istio kept its charts until now", module, istioCharts)
			}
			return nil
		},
	}
}
