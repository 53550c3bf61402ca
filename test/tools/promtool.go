package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
)

// promtool returns the directory that holds promtool and prometheus, and makes it when it is
// missing.
func promtool(ctx context.Context, progress io.Writer) (string, error) {
	return builtDirectory(ctx, promtoolSet(), "promtool", progress)
}

// builtDirectory returns the directory that holds the programs of a set, and builds those that are
// missing.
func builtDirectory(ctx context.Context, s set, name string, progress io.Writer) (string, error) {
	root, err := cacheRoot(os.Getenv)
	if err != nil {
		return "", err
	}
	p, err := s.part(name)
	if err != nil {
		return "", err
	}
	return builtFolder(filepath.Join(root, p.key)), p.provide(ctx, root, progress)
}
