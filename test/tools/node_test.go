package main

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// testEntries are cache entries that are named after their parts.
func testEntries(t *testing.T, k kind) map[string]string {
	t.Helper()
	parts, err := k.parts()
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]string{}
	for _, p := range parts {
		entries[p.name] = "/cache/" + strings.ReplaceAll(p.name, " ", "-")
	}
	for _, i := range k.images(entries) {
		entries[imagePart(i.name)] = "/cache/image-" + i.name
	}
	return entries
}

func TestNodeLinks(t *testing.T) {
	entries := testEntries(t, defaultKind())
	want := map[string]string{
		"bin/containerd":              "/cache/containerd/built/containerd",
		"bin/containerd-shim-runc-v2": "/cache/containerd/built/containerd-shim-runc-v2",
		"bin/ctr":                     "/cache/containerd/built/ctr",
		"bin/etcd":                    "/assets/etcd",
		"bin/helm":                    "/assets/helm",
		"bin/kube-apiserver":          "/assets/kube-apiserver",
		"bin/kube-controller-manager": "/cache/node/built/node",
		"bin/kube-proxy":              "/cache/node/built/node",
		"bin/kube-scheduler":          "/cache/node/built/node",
		"bin/kubectl":                 "/assets/kubectl",
		"bin/kubelet":                 "/cache/node/built/node",
		"images/clients.tar":          "/cache/image-clients/image.tar",
		"images/coredns.tar":          "/cache/image-coredns/image.tar",
		"images/pause.tar":            "/cache/image-pause/image.tar",
		"images/pilot.tar":            "/cache/image-pilot/image.tar",
		"images/proxyv2.tar":          "/cache/image-proxyv2/image.tar",
		"istio-charts":                "/cache/istio/module/manifests/charts",
	}
	if got := defaultKind().links("/assets", entries, defaultKind().images(entries)); !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestImageArguments(t *testing.T) {
	path := "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	want := map[string][]string{
		"pause": {
			"-tag", "registry.local/pause:1", "-output", "out.tar",
			"-file", "/cache/node/built/pause:/pause", "-entrypoint", "/pause", "-user", "65535:65535",
		},
		"coredns": {
			"-tag", "registry.local/coredns:1", "-output", "out.tar",
			"-file", "/cache/coredns/built/coredns:/coredns", "-entrypoint", "/coredns",
		},
		"pilot": {
			"-tag", "registry.local/pilot:1", "-output", "out.tar",
			"-file", "/cache/istio/built/pilot-discovery:/usr/local/bin/pilot-discovery",
			"-file", "/cache/root-file-system-of-the-proxy/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt",
			"-folder", "/tmp", "-env", path, "-entrypoint", "/usr/local/bin/pilot-discovery", "-user", "1337:1337",
		},
		"proxyv2": {
			"-tag", "registry.local/proxyv2:1", "-output", "out.tar", "-layer", "/cache/root-file-system-of-the-proxy/root.tar",
			"-file", "/cache/istio/built/pilot-agent:/usr/local/bin/pilot-agent",
			"-file", "/cache/envoy/envoy:/usr/local/bin/envoy",
			"-file", "/cache/istio/module/tools/packaging/common/envoy_bootstrap.json:" +
				"/var/lib/istio/envoy/envoy_bootstrap_tmpl.json",
			"-env", path, "-entrypoint", "/usr/local/bin/pilot-agent",
		},
		"clients": {
			"-tag", "registry.local/clients:1", "-output", "out.tar",
			"-layer", "/cache/root-file-system-of-the-clients/root.tar",
			"-file", "/cache/musl/musl-client:/usr/local/bin/musl-client", "-env", path,
		},
	}
	got := map[string][]string{}
	for _, i := range defaultKind().images(testEntries(t, defaultKind())) {
		got[i.name] = i.args("out.tar")
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestKeysOfImagesFollowTheirParts(t *testing.T) {
	keys := func(entries map[string]string, packer string) map[string]string {
		keys := map[string]string{}
		for _, i := range defaultKind().images(entries) {
			keys[i.name] = i.part(packer).key
		}
		return keys
	}
	tests := map[string]struct {
		changed string // name of the part whose entry is another one
		packer  string
		want    []string
	}{
		"nothing":                    {},
		"the clients' C program":     {changed: muslPart, want: []string{"clients"}},
		"the clients' root":          {changed: clientsRootPart, want: []string{"clients"}},
		"Envoy":                      {changed: envoyPart, want: []string{"proxyv2"}},
		"the proxy's root":           {changed: proxyRootPart, want: []string{"pilot", "proxyv2"}},
		"Istio":                      {changed: istioPart, want: []string{"pilot", "proxyv2"}},
		"CoreDNS":                    {changed: corednsPart, want: []string{"coredns"}},
		"Kubernetes":                 {changed: nodePart, want: []string{"pause"}},
		"containerd is in no image":  {changed: containerdPart},
		"the program that packs all": {packer: "/other", want: []string{"clients", "coredns", "pause", "pilot", "proxyv2"}},
	}
	before := keys(testEntries(t, defaultKind()), "/packer")
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			entries, packer := testEntries(t, defaultKind()), "/packer"
			if test.changed != "" {
				entries[test.changed] += "-changed"
			}
			if test.packer != "" {
				packer = test.packer
			}
			var got []string
			for image, key := range keys(entries, packer) {
				if key != before[image] {
					got = append(got, image)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, test.want) {
				t.Errorf("other keys for %v, want %v", got, test.want)
			}
		})
	}
}

func TestNodePartsHaveKeysOfTheirOwn(t *testing.T) {
	key, err := assetSet().key()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kinds() {
		parts, err := k.parts()
		if err != nil {
			t.Fatal(err)
		}
		names := map[string]string{key: "assets"}
		for _, p := range parts {
			if other, taken := names[p.key]; taken {
				t.Errorf("node %q: %s has the key of %s", k.name, p.name, other)
			}
			names[p.key] = p.name
		}
	}
}

func TestANodeOfAnotherKindSharesTheRest(t *testing.T) {
	keys := func(k kind) map[string]string {
		parts, err := k.parts()
		if err != nil {
			t.Fatal(err)
		}
		keys := map[string]string{}
		for _, p := range parts {
			keys[p.name] = p.key
		}
		return keys
	}
	same := keys(defaultKind())
	for name, want := range map[string][]string{
		"1.30":     {envoyPart, istioPart},
		"nftables": {proxyRootPart},
		"cni":      {cniPart},
	} {
		k, err := kindOf([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		var other []string
		for part, key := range keys(k) {
			if same[part] != key {
				other = append(other, part)
			}
		}
		slices.Sort(other)
		slices.Sort(want)
		if !slices.Equal(other, want) {
			t.Errorf("node %s: other parts are %q, want %q", name, other, want)
		}
		entries := testEntries(t, k)
		links := k.links("/assets", entries, k.images(entries))
		if _, there := links[kindLink+name]; !there {
			t.Errorf("node %s has no link that says so: %v", name, links)
		}
		if _, there := links["images/install-cni.tar"]; there != k.cni {
			t.Errorf("node %s: the image install-cni is there: %t, want %t", name, there, k.cni)
		}
	}
}

func TestIstiosCNIPluginIsOfItsVersion(t *testing.T) {
	version := func(module string) string {
		t.Helper()
		found, err := runGo(t.Context(), module, func(int) {}, "list", "-m", "-f", "{{.Version}}", istioSources)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if plugin, istio := version(cniSet().module), version(defaultKind().istio.module); plugin != istio {
		t.Errorf("the plugin is of %s %s, and the charts and istiod are of %s", istioSources, plugin, istio)
	}
}

func TestAnUnknownNodeIsRefusedWithTheNames(t *testing.T) {
	for _, args := range [][]string{{"1.29"}, {"1.30", "cni"}} {
		if _, err := kindOf(args); err == nil || !strings.Contains(err.Error(), "1.30, nftables, cni") {
			t.Errorf("%q: error %v", args, err)
		}
	}
	if k, err := kindOf(nil); err != nil || k.name != "" {
		t.Errorf("no argument gives %q, error %v", k.name, err)
	}
}

func TestKeyOfTellsFactsApart(t *testing.T) {
	if keyOf("a", "b") == keyOf("a b") || keyOf("a", "b") == keyOf("b", "a") || keyOf(`a" "b`) == keyOf("a", "b") {
		t.Error("other facts have the same key")
	}
	if facts := []string{"a", "b"}; keyOf(facts...) != keyOf(slices.Clone(facts)...) {
		t.Error("the same facts have another key")
	}
}

func TestPartIsMadeOnce(t *testing.T) {
	root, made := t.TempDir(), 0
	var failure error
	p := part{
		key:      "key",
		complete: func(entry string) bool { return isFile(filepath.Join(entry, "file")) },
		make: func(_ context.Context, entry string, _ io.Writer) error {
			made++
			if failure == nil {
				write(t, filepath.Join(entry, "file"), 0o644, "")
			}
			return failure
		},
	}
	steps := []struct {
		what    string
		failure error
		made    int
	}{
		{"the first try fails", errors.New("no network"), 1},
		{"the second makes it", nil, 2},
		{"the third finds it", nil, 2},
	}
	for _, step := range steps {
		failure = step.failure
		if err := p.provide(t.Context(), root, io.Discard); !errors.Is(err, step.failure) || made != step.made {
			t.Errorf("%s: error %v, made %d times; want %v, %d", step.what, err, made, step.failure, step.made)
		}
	}
}

func TestPartOfASetIsCompleteWithAllPrograms(t *testing.T) {
	p, err := istioSet().part(istioPart)
	if err != nil {
		t.Fatal(err)
	}
	p = withModule(p, istioSet(), istioSources, istioCharts)
	entry, module := t.TempDir(), t.TempDir()
	steps := []struct {
		what   string
		before func()
		want   bool
	}{
		{"nothing is there", func() {}, false},
		{"one of two programs", func() { write(t, filepath.Join(entry, "built", "pilot-agent"), 0o755, "") }, false},
		{
			"both programs, not the charts",
			func() { write(t, filepath.Join(entry, "built", "pilot-discovery"), 0o755, "") },
			false,
		},
		{"all", func() {
			write(t, filepath.Join(module, "manifests", "charts", "base", "Chart.yaml"), 0o644, "")
			if err := os.Symlink(module, moduleLink(entry)); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"the module cache was emptied", func() {
			if err := os.RemoveAll(filepath.Join(module, "manifests")); err != nil {
				t.Fatal(err)
			}
		}, false},
	}
	for _, step := range steps {
		step.before()
		if got := p.complete(entry); got != step.want {
			t.Errorf("%s: complete %t, want %t", step.what, got, step.want)
		}
	}
}
