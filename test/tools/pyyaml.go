package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// pyyamlVersion is the release of PyYAML that the tests read manifests with.
const pyyamlVersion = "6.0.3"

// pyyamlFolder is the folder of the module in its cache entry, as PYTHONPATH wants it.
const pyyamlFolder = "modules"

// pyyaml returns the directory that holds the Python module yaml, and installs it there when it is
// missing. It needs a python3 with pip.
func pyyaml(ctx context.Context, progress io.Writer) (string, error) {
	root, err := cacheRoot(os.Getenv)
	if err != nil {
		return "", err
	}
	p := part{
		name: "PyYAML", key: keyOf("PyYAML", pyyamlVersion), make: installPyYAML,
		complete: func(entry string) bool {
			_, err := os.Stat(filepath.Join(entry, pyyamlFolder))
			return err == nil
		},
	}
	return filepath.Join(root, p.key, pyyamlFolder), p.provide(ctx, root, progress)
}

func installPyYAML(ctx context.Context, entry string, progress io.Writer) (err error) {
	begin := time.Now()
	unfinished, err := os.MkdirTemp(entry, temporary)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(unfinished)) }()
	pip := command{dir: unfinished, args: append(strings.Fields(pythonWithPip),
		"install", "--quiet", "--no-deps", "--target", pyyamlFolder, "PyYAML=="+pyyamlVersion)}
	if _, err := pip.run(ctx, still(progress, "PyYAML", begin)); err != nil {
		return err
	}
	tellf(progress, "PyYAML %s: done in %s\n", pyyamlVersion, since(begin))
	return os.Rename(filepath.Join(unfinished, pyyamlFolder), filepath.Join(entry, pyyamlFolder))
}
