package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// istioCRDs returns the file with Istio's CustomResourceDefinitions, of the version of istio.io/api that the webhook itself is built with.
func istioCRDs(ctx context.Context) (string, error) {
	const module = "istio.io/api"
	quiet := func(int) {}
	root := filepath.Join("..", "..")
	dir, err := runGo(ctx, root, quiet, "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return "", err
	}
	if dir == "" { // known, but not in the module cache
		if _, err := runGo(ctx, root, quiet, "mod", "download", module); err != nil {
			return "", err
		}
		if dir, err = runGo(ctx, root, quiet, "list", "-m", "-f", "{{.Dir}}", module); err != nil {
			return "", err
		}
	}
	file := filepath.Join(dir, "kubernetes", "customresourcedefinitions.gen.yaml")
	if _, err := os.Stat(file); err != nil {
		return "", fmt.Errorf("%s is not where Istio kept its CRDs until now: %w", module, err)
	}
	return file, nil
}
