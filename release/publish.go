package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// publish pushes the image to REGISTRY/mtls-egress-webhook and the chart to
// REGISTRY/charts/mtls-egress-webhook, with the credentials in Docker's configuration. It prints
// their references.
func publish(ctx context.Context, folder, registry, helm string, stdout io.Writer) error {
	image, err := onlyFile(folder, product+"_*_image.tar")
	if err != nil {
		return err
	}
	chart, err := onlyFile(folder, product+"-*.tgz")
	if err != nil {
		return err
	}
	version := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(image), product+"_"), "_image.tar")
	reference, err := name.NewTag(registry + "/" + product + ":" + version)
	if err != nil {
		return err
	}
	if err := pushImage(ctx, image, reference); err != nil {
		return err
	}
	args := []string{"push", chart, "oci://" + registry + "/charts"}
	if reference.Scheme() == "http" { // on this machine
		args = append(args, "--plain-http")
	}
	pushed, err := output(exec.CommandContext(ctx, helm, args...))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s\n%s", reference, pushed)
	return err
}

func onlyFile(folder, pattern string) (string, error) {
	found, err := filepath.Glob(filepath.Join(folder, pattern))
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%s has %d files %s: want exactly one, from `make release`", folder, len(found), pattern)
	}
	return strings.Join(found, ""), err
}

func pushImage(ctx context.Context, archive string, reference name.Tag) (err error) {
	folder, err := os.MkdirTemp("", "mtls-egress-layout-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	index, err := openLayout(archive, folder)
	if err != nil {
		return err
	}
	return remote.WriteIndex(reference, index, remote.WithContext(ctx),
		remote.WithAuthFromKeychain(authn.DefaultKeychain))
}

// openLayout unpacks the archive into the folder and returns its only image.
func openLayout(archive, folder string) (v1.ImageIndex, error) {
	file, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	for content := tar.NewReader(file); ; {
		header, err := content.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := unpack(content, folder, header.Name); err != nil {
			return nil, err
		}
	}
	outer, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return nil, err
	}
	manifest, err := outer.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Manifests) != 1 {
		return nil, fmt.Errorf("%s has %d images: want one", archive, len(manifest.Manifests))
	}
	return outer.ImageIndex(manifest.Manifests[0].Digest)
}

func unpack(content io.Reader, folder, path string) error {
	target, err := filepath.Localize(path) // rejects paths outside the folder
	if err != nil {
		return err
	}
	target = filepath.Join(folder, target)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	file, err := os.Create(target)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}
