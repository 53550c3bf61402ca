package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"mtls.egress/webhook/release/image"
)

// imageName returns the name of the image archive: an OCI image layout with an index of the
// platforms.
func (r release) imageName() string { return fmt.Sprintf("%s_%s_image.tar", product, r.version) }

// reference returns the name of the image after it is loaded or pushed.
func (r release) reference() string { return r.repository + ":" + r.version }

// fullReference returns the name as the kubelet uses it. The default registry is Docker Hub.
func fullReference(reference string) (string, error) {
	tag, err := name.NewTag(reference)
	if err != nil {
		return "", err
	}
	return strings.Replace(tag.Name(), name.DefaultRegistry, "docker.io", 1), nil
}

// image writes the image with all binaries for Linux. The checksum of the artifact is the digest of
// the image index.
func (r release) image(folder string) (artifact, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range r.platforms() {
		if p.system != "linux" {
			continue
		}
		contents := image.Webhook(r.binaries[p], p.architecture, r.licenses(folder)...)
		contents.Labels, contents.Created = r.labels(), r.created
		built, err := contents.Build()
		if err != nil {
			return artifact{}, err
		}
		index = mutate.AppendManifests(
			index,
			mutate.IndexAddendum{
				Add:        built,
				Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: p.system, Architecture: p.architecture}},
			},
		)
	}
	annotated, ok := mutate.Annotations(index, r.labels()).(v1.ImageIndex)
	if !ok {
		return artifact{}, fmt.Errorf("an index of type %T lost its manifests", annotated)
	}
	digest, err := annotated.Digest()
	if err != nil {
		return artifact{}, err
	}
	if err := r.writeLayout(filepath.Join(folder, r.imageName()), annotated); err != nil {
		return artifact{}, err
	}
	return artifact{
		name:    r.imageName(),
		purpose: "CONTAINER",
		sha256:  digest.Hex,
	}, os.WriteFile(filepath.Join(folder, imageDigestFile), []byte(digest.String()+"\n"), 0o644)
}

// labels returns the labels of
// https://github.com/opencontainers/image-spec/blob/v1.1.1/annotations.md.
func (r release) labels() map[string]string {
	labels := map[string]string{
		"org.opencontainers.image.title": product,
		"org.opencontainers.image.description": "Mutual TLS to hosts outside the Istio mesh, with one " +
			"annotation on a workload.",
		"org.opencontainers.image.licenses": ownLicense,
		"org.opencontainers.image.version":  r.version,
		"org.opencontainers.image.revision": r.commit,
		"org.opencontainers.image.created":  r.created.Format(time.RFC3339),
	}
	if r.source != "" {
		labels["org.opencontainers.image.source"] = r.source
	}
	return labels
}

// writeLayout writes an archive that podman, skopeo and docker (version 25 and later) can load, and
// that containerd imports with the name of the image.
func (r release) writeLayout(path string, index v1.ImageIndex) error {
	folder, err := os.MkdirTemp("", "mtls-egress-layout-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	full, err := fullReference(r.reference())
	if err != nil {
		return err
	}
	written, err := layout.Write(folder, empty.Index)
	if err != nil {
		return err
	}
	err = written.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": r.version,
		"io.containerd.image.name":          full,
	}))
	if err != nil {
		return err
	}
	files, err := membersOf(folder)
	if err != nil {
		return err
	}
	return writeArchive(path, files, r.created)
}

// membersOf returns the files of a folder, sorted by name.
func membersOf(folder string) ([]member, error) {
	var files []member
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name := strings.TrimPrefix(filepath.ToSlash(strings.TrimPrefix(path, folder)), "/")
		files = append(files, member{name: name, source: path, mode: 0o644})
		return nil
	})
	return files, err
}
