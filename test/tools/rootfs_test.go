package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

func TestRootFSKey(t *testing.T) {
	base := rootFS{name: "a", packages: []string{"curl"}, account: "me", folders: []string{"etc/me"}, takes: time.Second}
	tests := map[string]struct {
		change func(*rootFS)
		keeps  bool
	}{
		"how long it takes": {change: func(r *rootFS) { r.takes = time.Minute }, keeps: true},
		"its packages":      {change: func(r *rootFS) { r.packages = []string{"curl", "jq"} }},
		"its account":       {change: func(r *rootFS) { r.account = "you" }},
		"its folders":       {change: func(r *rootFS) { r.folders = nil }},
		"a package that becomes a folder": {change: func(r *rootFS) {
			r.packages, r.folders = nil, []string{"curl", "etc/me"}
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			changed := base
			test.change(&changed)
			if got := changed.key(); (got == base.key()) != test.keeps {
				t.Errorf("key %s, before the change %s; want it kept: %t", got, base.key(), test.keeps)
			}
		})
	}
}

func TestFinishRemovesWhatIsNeedless(t *testing.T) {
	root := t.TempDir()
	for _, path := range []string{
		"etc/hostname", "etc/passwd", "etc/resolv.conf", "usr/bin/java", "usr/lib/jvm/java-17/jmods/java.base.jmod",
		"usr/lib/jvm/java-17/lib/modules", "usr/share/doc/curl/copyright", "usr/share/ca-certificates/a.crt",
		"var/cache/apt/archives/curl.deb", "var/lib/apt/lists/main", "var/lib/dpkg/status",
	} {
		write(t, filepath.Join(root, path), 0o644, path)
	}
	if err := clientsRootFS().finish(root); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"etc/passwd", "usr/bin/java", "usr/lib/jvm/java-17/lib/modules", "usr/share/ca-certificates/a.crt",
		"var/lib/dpkg/status",
	}
	if got := filesIn(t, root); !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
}

func TestFinishAddsTheAccountOfTheProxy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	root := t.TempDir()
	write(t, filepath.Join(root, "etc", "passwd"), 0o644, "root:x:0:0:root:/root:/bin/bash\n")
	write(t, filepath.Join(root, "etc", "group"), 0o644, "root:x:0:\n")
	if err := proxyRootFS().finish(root); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/bash\nistio-proxy:x:1337:1337::/var/lib/istio:/usr/sbin/nologin\n",
		"etc/group":  "root:x:0:\nistio-proxy:x:1337:\n",
	} {
		if got, err := os.ReadFile(filepath.Join(root, path)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
	for _, folder := range []string{"etc/istio/proxy", "var/lib/istio/data", "var/lib/istio/envoy"} {
		info, err := os.Stat(filepath.Join(root, folder))
		if err != nil {
			t.Error(err)
			continue
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || owner.Uid != proxyUID || owner.Gid != proxyUID {
			t.Errorf("%s: %v of %v, want a folder of %d", folder, info.Mode(), owner, proxyUID)
		}
	}
}

func TestFirstMirror(t *testing.T) {
	tests := map[string]struct{ lines, want string }{
		"none": {"", ""},
		"one":  {"http://mirror.example/debian/", "http://mirror.example/debian/"},
		"several": {
			"https://one.example/debian/\nhttp://two.example/debian/", "https://one.example/debian/",
		},
		"one that debootstrap can't do": {"cdrom://Debian/\nfile:/srv/debian/", "file:/srv/debian/"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := firstMirror(test.lines); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// filesIn are the paths of all files below the folder, in order.
func filesIn(t *testing.T, folder string) []string {
	t.Helper()
	var files []string
	err := fs.WalkDir(os.DirFS(folder), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
