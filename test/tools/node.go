package main

import (
	"context"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// part is something that a node consists of and that has a cache entry of its own.
type part struct {
	name     string
	key      string
	complete func(entry string) bool
	make     func(ctx context.Context, entry string, progress io.Writer) error
}

// Names of the parts.
const (
	muslPart        = "musl"
	envoyPart       = "envoy"
	proxyRootPart   = "root file system of the proxy"
	clientsRootPart = "root file system of the clients"
	packerPart      = "packer"
	corednsPart     = "coredns"
	containerdPart  = "containerd"
	nodePart        = "node"
	istioPart       = "istio"
	cniPart         = "istio-cni"
)

// kindLink starts the name of a link in the directory of a node that isn't the default one.
const kindLink = "kind-"

func imagePart(image string) string { return "image " + image }

// node returns the directory with everything that a one-node cluster with Istio is made of, and
// makes what is missing.
func node(ctx context.Context, k kind, progress io.Writer) (string, error) {
	root, err := cacheRoot(os.Getenv)
	if err != nil {
		return "", err
	}
	parts, err := k.parts()
	if err != nil {
		return "", err
	}
	entries := map[string]string{}
	for _, p := range parts {
		entries[p.name] = filepath.Join(root, p.key)
	}
	images := k.images(entries)
	packer := filepath.Join(builtFolder(entries[packerPart]), packerProgram)
	for _, i := range images {
		p := i.part(packer)
		parts, entries[p.name] = append(parts, p), filepath.Join(root, p.key)
	}
	var keys []string
	for _, p := range parts {
		keys = append(keys, p.key)
	}
	entry, unlock, err := enter(root, keyOf(append([]string{"node"}, keys...)...), progress)
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := prepareHost(ctx, parts, entries, progress); err != nil {
		return "", err
	}
	for _, p := range parts {
		if err := p.provide(ctx, root, progress); err != nil {
			return "", err
		}
	}
	assets, err := assets(ctx, progress)
	if err != nil {
		return "", err
	}
	return link(entry, "node-", k.links(assets, entries, images))
}

// parts are the parts but for the images: first what needs the network and fails early without,
// then what is compiled, the quickest first.
func (k kind) parts() ([]part, error) {
	musl, err := muslKey()
	if err != nil {
		return nil, err
	}
	parts := []part{
		{name: muslPart, key: musl, complete: muslComplete, make: makeMusl},
		{name: envoyPart, key: k.envoy.key(), complete: envoyComplete, make: k.envoy.make},
		k.proxyRoot.part(proxyRootPart),
		clientsRootFS().part(clientsRootPart),
	}
	type namedSet struct {
		name string
		set  set
	}
	sets := []namedSet{
		{packerPart, packerSet()}, {corednsPart, corednsSet()}, {containerdPart, containerdSet()},
		{nodePart, nodeSet()}, {istioPart, k.istio},
	}
	if k.cni {
		sets = append(sets, namedSet{cniPart, cniSet()})
	}
	for _, s := range sets {
		p, err := s.set.part(s.name)
		if err != nil {
			return nil, err
		}
		if s.name == istioPart {
			p = withModule(p, s.set, istioSources, istioCharts)
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// prepareHost refuses a host that can't become a node, and installs the Debian packages that it
// lacks.
func prepareHost(ctx context.Context, parts []part, entries map[string]string, progress io.Writer) error {
	missing := map[string]bool{}
	for _, p := range parts {
		missing[p.name] = !p.complete(entries[p.name])
	}
	packages := hostPackages(
		work{rootFS: missing[proxyRootPart] || missing[clientsRootPart], envoy: missing[envoyPart], musl: missing[muslPart]},
	)
	h := host{os: runtime.GOOS, architecture: runtime.GOARCH, root: os.Geteuid() == 0, has: thisHasFile(ctx)}
	absent := h.absent(packages)
	if err := h.refusal(absent); err != nil {
		return err
	}
	return install(ctx, absent, progress)
}

// provide makes the part if it isn't complete.
func (p part) provide(ctx context.Context, root string, progress io.Writer) error {
	entry, unlock, err := enter(root, p.key, progress)
	if err != nil {
		return err
	}
	defer unlock()
	if p.complete(entry) {
		return nil
	}
	return p.make(ctx, entry, progress)
}

// part is the set's.
func (s set) part(name string) (part, error) {
	key, err := s.key()
	return part{
		name:     name,
		key:      key,
		complete: func(entry string) bool { return len(s.missing(builtFolder(entry))) == 0 },
		make: func(ctx context.Context, entry string, progress io.Writer) error {
			folder := builtFolder(entry)
			return build(ctx, s.module, folder, s.missing(folder), progress)
		},
	}, err
}

// part is the root file system's.
func (r rootFS) part(name string) part {
	return part{name: name, key: r.key(), complete: r.complete, make: r.make}
}

// links is the content of the directory: each path in it, and what that stands for.
func (k kind) links(assets string, entries map[string]string, images []image) map[string]string {
	charts := filepath.Join(moduleLink(entries[istioPart]), istioCharts)
	links := map[string]string{"istio-charts": charts}
	if k.name != "" {
		links[kindLink+k.name] = charts // by it the tests recognize the node
	}
	fromAssets, _ := linkSet("", "", nil)
	for _, name := range slices.Sorted(maps.Keys(fromAssets)) {
		links["bin/"+name] = filepath.Join(assets, name)
	}
	for name, s := range map[string]set{nodePart: nodeSet(), containerdPart: containerdSet()} {
		for _, p := range s.programs {
			for _, run := range p.names {
				links["bin/"+run] = filepath.Join(builtFolder(entries[name]), p.name)
			}
		}
	}
	for _, i := range images {
		links["images/"+i.name+".tar"] = filepath.Join(entries[imagePart(i.name)], imageArchive)
	}
	return links
}
