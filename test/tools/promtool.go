package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
)

// promtool returns the directory that holds promtool and prometheus, and makes it when it is missing.
func promtool(ctx context.Context, progress io.Writer) (string, error) {
	root, err := cacheRoot(os.Getenv)
	if err != nil {
		return "", err
	}
	p, err := promtoolSet().part("promtool")
	if err != nil {
		return "", err
	}
	return builtFolder(filepath.Join(root, p.key)), p.provide(ctx, root, progress)
}
