package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// registry is where the images' names say that they come from. No such host exists: what isn't
// imported fails at once.
const registry = "registry.local"

// imageArchive is the file of an image's cache entry.
const imageArchive = "image.tar"

// image is what an image is packed from. See release/pack for the meaning of the fields.
type image struct {
	name       string
	layer      string
	files      []imageFile
	folders    []string
	entrypoint string
	user       string
	env        []string
}

// imageFile is a file on this host and its place in the image.
type imageFile struct{ source, target string }

// images are the images of the node, by the folders of the cache that their parts are in.
func (k kind) images(entries map[string]string) []image {
	built := func(set, program string) string { return filepath.Join(builtFolder(entries[set]), program) }
	path := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	proxy := strconv.Itoa(proxyUID)
	images := []image{
		{name: "pause", files: []imageFile{{built(nodePart, "pause"), "/pause"}}, entrypoint: "/pause", user: "65535:65535"},
		{name: "coredns", files: []imageFile{{built(corednsPart, "coredns"), "/coredns"}}, entrypoint: "/coredns"},
		{
			name:       "pilot",
			entrypoint: "/usr/local/bin/pilot-discovery",
			user:       proxy + ":" + proxy,
			env:        path,
			folders:    []string{"/tmp"},
			files: []imageFile{
				{built(istioPart, "pilot-discovery"), "/usr/local/bin/pilot-discovery"},
				{filepath.Join(entries[proxyRootPart], caCertificates), "/etc/ssl/certs/" + caCertificates},
			},
		},
		{
			name:       "proxyv2",
			entrypoint: "/usr/local/bin/pilot-agent",
			env:        path,
			layer:      filepath.Join(entries[proxyRootPart], rootArchive),
			files: []imageFile{
				{built(istioPart, "pilot-agent"), "/usr/local/bin/pilot-agent"},
				{filepath.Join(entries[envoyPart], "envoy"), "/usr/local/bin/envoy"},
				// Istio's Dockerfile puts it there under this name.
				{
					filepath.Join(moduleLink(entries[istioPart]), "tools/packaging/common/envoy_bootstrap.json"),
					"/var/lib/istio/envoy/envoy_bootstrap_tmpl.json",
				},
			},
		},
		{
			name: "clients", env: path, layer: filepath.Join(entries[clientsRootPart], rootArchive),
			files: []imageFile{{filepath.Join(entries[muslPart], muslProgram), "/usr/local/bin/" + muslProgram}},
		},
	}
	if k.cni {
		images = append(images, image{
			name: "install-cni", env: []string{path[0] + ":/opt/cni/bin"}, entrypoint: "/usr/local/bin/install-cni",
			layer: filepath.Join(entries[proxyRootPart], rootArchive),
			files: []imageFile{
				{built(cniPart, "istio-cni"), "/opt/cni/bin/istio-cni"},
				{built(cniPart, "install-cni"), "/usr/local/bin/install-cni"},
			},
		})
	}
	return images
}

// args are the arguments of the packing program.
func (i image) args(output string) []string {
	args := []string{"-tag", registry + "/" + i.name + ":1", "-output", output}
	if i.layer != "" {
		args = append(args, "-layer", i.layer)
	}
	for _, f := range i.files {
		args = append(args, "-file", f.source+":"+f.target)
	}
	for _, folder := range i.folders {
		args = append(args, "-folder", folder)
	}
	for _, variable := range i.env {
		args = append(args, "-env", variable)
	}
	if i.entrypoint != "" {
		args = append(args, "-entrypoint", i.entrypoint)
	}
	if i.user != "" {
		args = append(args, "-user", i.user)
	}
	return args
}

// part is the image's: its files come from folders of the cache, whose names stand for their
// content.
func (i image) part(packer string) part {
	return part{
		name:     imagePart(i.name),
		key:      keyOf(append([]string{"image", packer}, i.args("")...)...),
		complete: func(entry string) bool { return isFile(filepath.Join(entry, imageArchive)) },
		make: func(ctx context.Context, entry string, progress io.Writer) error {
			begin := time.Now()
			unfinished, err := os.MkdirTemp(entry, temporary)
			if err != nil {
				return err
			}
			defer func() { _ = os.RemoveAll(unfinished) }()
			output := filepath.Join(unfinished, imageArchive)
			pack := command{dir: ".", args: append([]string{packer}, i.args(output)...)}
			if _, err := pack.run(ctx, still(progress, "image "+i.name, begin)); err != nil {
				return err
			}
			info, err := os.Stat(output)
			if err != nil {
				return err
			}
			tellf(progress, "image %s: done in %s, %d MB\n", i.name, since(begin), info.Size()/1e6)
			return os.Rename(output, filepath.Join(entry, imageArchive))
		},
	}
}
