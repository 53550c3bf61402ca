package main

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"testing/fstest"
	"time"
)

func TestChoose(t *testing.T) {
	tests := map[string]struct {
		findings findings
		want     source
	}{
		"nothing known: try to download": {
			want: download,
		},
		"KUBEBUILDER_ASSETS goes first": {
			findings: findings{given: "/assets", built: true, downloaded: "/downloaded", downloadFailed: true},
			want:     given,
		},
		"built earlier: no reason to ask the network": {
			findings: findings{built: true, downloaded: "/downloaded"},
			want:     built,
		},
		"downloaded earlier": {
			findings: findings{downloaded: "/downloaded"},
			want:     downloaded,
		},
		"downloaded earlier, and a later failure": {
			findings: findings{downloaded: "/downloaded", downloadFailed: true},
			want:     downloaded,
		},
		"the download failed just now": {
			findings: findings{downloadFailed: true},
			want:     built,
		},
		"the download failed a moment less than a day ago": {
			findings: findings{downloadFailed: true, sinceFailure: 24*time.Hour - 1},
			want:     built,
		},
		"the download failed a day ago": {
			findings: findings{downloadFailed: true, sinceFailure: 24 * time.Hour},
			want:     download,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := choose(test.findings); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestLinkSet(t *testing.T) {
	tests := map[string]struct {
		directory  string
		holds      []string
		links      map[string]string
		fromSource []string
	}{
		"no directory: everything is built": {
			links: map[string]string{
				"etcd": "/built/etcd", "helm": "/built/helm", "kube-apiserver": "/built/kube", "kubectl": "/built/kube",
			},
			fromSource: []string{"etcd", "helm", "kube"},
		},
		"a directory of envtest: Helm is built": {
			directory: "/given",
			holds:     []string{"etcd", "kube-apiserver", "kubectl"},
			links: map[string]string{
				"etcd":           "/given/etcd",
				"helm":           "/built/helm",
				"kube-apiserver": "/given/kube-apiserver",
				"kubectl":        "/given/kubectl",
			},
			fromSource: []string{"helm"},
		},
		"a directory with Helm: nothing is built": {
			directory: "/given",
			holds:     []string{"etcd", "helm", "kube-apiserver", "kubectl", "kubelet"},
			links: map[string]string{
				"etcd":           "/given/etcd",
				"helm":           "/given/helm",
				"kube-apiserver": "/given/kube-apiserver",
				"kubectl":        "/given/kubectl",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			links, fromSource := linkSet("/built", test.directory,
				func(name string) bool { return slices.Contains(test.holds, name) })
			if !maps.Equal(links, test.links) {
				t.Errorf("links %v, want %v", links, test.links)
			}
			var names []string
			for _, p := range fromSource {
				names = append(names, p.name)
			}
			if !slices.Equal(names, test.fromSource) {
				t.Errorf("from source %v, want %v", names, test.fromSource)
			}
		})
	}
}

func TestLinkKeepsOneDirectoryForOneLinkSet(t *testing.T) {
	entry := t.TempDir()
	first := map[string]string{"etcd": "/a/etcd", "bin/helm": "/a/helm"}
	second := map[string]string{"etcd": "/b/etcd", "bin/helm": "/a/helm"}

	directory, err := link(entry, "assets-", first)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := link(entry, "assets-", maps.Clone(first)); err != nil || again != directory {
		t.Errorf("the same links again: %s, %v; want %s", again, err, directory)
	}
	if other, err := link(entry, "assets-", second); err != nil || other == directory {
		t.Errorf("other links: %s, %v; want another directory", other, err)
	}
	got := map[string]string{}
	for name := range first {
		if got[name], err = os.Readlink(filepath.Join(directory, name)); err != nil {
			t.Error(err)
		}
	}
	if !maps.Equal(got, first) {
		t.Errorf("links %v, want %v", got, first)
	}
	if unfinished, err := filepath.Glob(filepath.Join(entry, temporary+"*")); err != nil || len(unfinished) > 0 {
		t.Errorf("unfinished directories %v, error %v", unfinished, err)
	}
}

func TestLook(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	directory := t.TempDir() // of envtest
	for _, name := range servers() {
		write(t, filepath.Join(directory, name), 0o755, "")
	}
	empty := t.TempDir()
	tests := map[string]struct {
		given   string
		prepare func(t *testing.T, entry string)
		want    findings
		err     string
	}{
		"an empty cache": {
			prepare: func(*testing.T, string) {},
			want:    findings{},
		},
		"an earlier build, whether or not Helm is there": {
			prepare: func(t *testing.T, entry string) {
				write(t, filepath.Join(entry, "built", "etcd"), 0o755, "")
				write(t, filepath.Join(entry, "built", "kube"), 0o755, "")
			},
			want: findings{built: true},
		},
		"half of a build": {
			prepare: func(t *testing.T, entry string) { write(t, filepath.Join(entry, "built", "etcd"), 0o755, "") },
			want:    findings{},
		},
		"an earlier download": {
			prepare: func(t *testing.T, entry string) { write(t, filepath.Join(entry, downloadedFile), 0o644, directory) },
			want:    findings{downloaded: directory},
		},
		"an earlier download that was removed": {
			prepare: func(t *testing.T, entry string) { write(t, filepath.Join(entry, downloadedFile), 0o644, empty) },
			want:    findings{},
		},
		"a failed download": {
			prepare: func(t *testing.T, entry string) {
				path := filepath.Join(entry, failedFile)
				write(t, path, 0o644, "no such host")
				if err := os.Chtimes(path, now.Add(-time.Hour), now.Add(-time.Hour)); err != nil {
					t.Fatal(err)
				}
			},
			want: findings{downloadFailed: true, sinceFailure: time.Hour},
		},
		"KUBEBUILDER_ASSETS": {
			given:   directory,
			prepare: func(*testing.T, string) {},
			want:    findings{given: directory},
		},
		"KUBEBUILDER_ASSETS without programs": {
			given:   empty,
			prepare: func(*testing.T, string) {},
			err: "KUBEBUILDER_ASSETS=" + empty + " has no program etcd, kube-apiserver, kubectl: " +
				"point it to a directory with etcd, kube-apiserver, kubectl, or unset it to have them provided",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBEBUILDER_ASSETS", test.given)
			entry := t.TempDir()
			test.prepare(t, entry)
			got, err := look(entry, now)
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("error %v, want %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestCacheKey(t *testing.T) {
	module := func(change func(fstest.MapFS)) fstest.MapFS {
		files := fstest.MapFS{
			"go.mod":           {Data: []byte("module m")},
			"go.sum":           {Data: []byte("sum")},
			"main.go":          {Data: []byte("package main")},
			"cmd/kube/main.go": {Data: []byte("package main")},
			"cmd/node/main.go": {Data: []byte("package main")},
		}
		change(files)
		return files
	}
	same := func(fstest.MapFS) {}
	base := key(t, module(same), "recipe", "linux/amd64")
	tests := map[string]struct {
		change   func(fstest.MapFS)
		recipe   string
		platform string
		keeps    bool
	}{
		"nothing": {change: same, keeps: true},
		"this command's sources": {
			change: func(m fstest.MapFS) { m["main.go"].Data = []byte("package main // changed") },
			keeps:  true,
		},
		"another set's sources": {
			change: func(m fstest.MapFS) { m["cmd/node/main.go"].Data = []byte("package main // changed") },
			keeps:  true,
		},
		"a test in cmd": {
			change: func(m fstest.MapFS) { m["cmd/kube/main_test.go"] = &fstest.MapFile{} },
			keeps:  true,
		},
		"go.mod":              {change: func(m fstest.MapFS) { m["go.mod"].Data = []byte("module n") }},
		"go.sum":              {change: func(m fstest.MapFS) { m["go.sum"].Data = nil }},
		"a source in cmd":     {change: func(m fstest.MapFS) { m["cmd/kube/main.go"].Data = []byte("package other") }},
		"a new source in cmd": {change: func(m fstest.MapFS) { m["cmd/kube/new.go"] = &fstest.MapFile{} }},
		"the recipe":          {change: same, recipe: "other"},
		"the platform":        {change: same, platform: "darwin/arm64"},
		"bytes that move from one file to the next": {change: func(m fstest.MapFS) {
			m["go.mod"].Data, m["go.sum"].Data = []byte("module msu"), []byte("m")
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			recipe, platform := "recipe", "linux/amd64"
			if test.recipe != "" {
				recipe = test.recipe
			}
			if test.platform != "" {
				platform = test.platform
			}
			if got := key(t, module(test.change), recipe, platform); (got == base) != test.keeps {
				t.Errorf("key %s, before the change %s; want it kept: %t", got, base, test.keeps)
			}
		})
	}
	if _, err := cacheKey(fstest.MapFS{"cmd/a.go": {}}, nil, "", ""); err == nil {
		t.Error("a folder without go.mod has a key")
	}
	if _, err := cacheKey(module(same), []string{"cmd/no-such"}, "", ""); err == nil {
		t.Error("a folder of sources that doesn't exist has a key")
	}
	whole := func(change func(fstest.MapFS)) string {
		key, err := cacheKey(module(change), []string{"."}, "recipe", "linux/amd64")
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	if whole(same) == whole(func(m fstest.MapFS) { m["main.go"].Data = nil }) {
		t.Error("a set that is made of the whole module keeps its key when a source changes")
	}
}

func TestCacheRoot(t *testing.T) {
	tests := map[string]struct {
		environment map[string]string
		want        string
	}{
		"own variable first": {
			map[string]string{"MTLS_EGRESS_CACHE": "/own", "XDG_CACHE_HOME": "/xdg", "HOME": "/home/me"},
			"/own",
		},
		"the desktop's cache": {map[string]string{"XDG_CACHE_HOME": "/xdg", "HOME": "/home/me"}, "/xdg/mtls-egress-webhook"},
		"the home folder":     {map[string]string{"HOME": "/home/me"}, "/home/me/.cache/mtls-egress-webhook"},
		"nothing is set":      {nil, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := cacheRoot(func(name string) string { return test.environment[name] })
			if got != test.want || (err != nil) != (test.want == "") {
				t.Errorf("got %q, error %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestPruneRemovesWhatNothingUsesAnyMore(t *testing.T) {
	root, now := t.TempDir(), time.Now().Truncate(time.Second)
	for name, used := range map[string]time.Duration{
		"current": 100 * 24 * time.Hour,
		"recent":  keepUnused,
		"old":     keepUnused + time.Second,
	} {
		lock := filepath.Join(root, name, "lock")
		write(t, lock, 0o644, "")
		write(t, filepath.Join(root, name, "built", "etcd"), 0o755, "")
		if err := os.Chtimes(lock, now.Add(-used), now.Add(-used)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(root, "current", temporary+"123", "etcd"), 0o755, "")
	write(t, filepath.Join(root, "not-ours", "file"), 0o644, "")

	if err := prune(filepath.Join(root, "current"), now); err != nil {
		t.Fatal(err)
	}

	var got []string
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			got = append(got, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"current/built/etcd", "current/lock", "not-ours/file", "recent/built/etcd", "recent/lock"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
	if info, err := os.Stat(filepath.Join(root, "current", "lock")); err != nil || !info.ModTime().Equal(now) {
		t.Errorf("the current entry was used at %v, error %v; want %v", info.ModTime(), err, now)
	}
}

func key(t *testing.T, module fs.FS, recipe, platform string) string {
	t.Helper()
	key, err := cacheKey(module, []string{"cmd/kube"}, recipe, platform)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func write(t *testing.T, path string, mode fs.FileMode, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}
