package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// debian is the release that root file systems are made of.
const debian = "bookworm"

// rootFS is a root file system with Debian's smallest set of packages and those that are named
// here.
type rootFS struct {
	name     string
	packages []string
	account  string   // name of an account with the number proxyUID, or empty
	folders  []string // of that account
	takes    time.Duration
}

// proxyUID is the account of Istio's proxy: what it does is not redirected to itself, and Istio's
// templates name it by number. See
// https://github.com/istio/istio/blob/master/tools/istio-iptables/pkg/constants/constants.go.
const proxyUID = 1337

// proxyRootFS is where pilot-agent runs Envoy, and iptables in the init container, with further
// packages.
func proxyRootFS(further ...string) rootFS {
	return rootFS{
		name:     "proxyv2",
		packages: append([]string{"ca-certificates", "iptables"}, further...),
		account:  "istio-proxy",
		folders:  []string{"etc/istio/proxy", "var/lib/istio/data", "var/lib/istio/envoy"},
		takes:    30 * time.Second,
	}
}

// clientsRootFS is for apps that aren't written in Go, and for the partner of a tutorial, an nginx.
func clientsRootFS() rootFS {
	return rootFS{
		name:     "clients",
		packages: []string{"ca-certificates", "curl", "nginx-light", "nodejs", "openjdk-17-jdk-headless"},
		takes:    45 * time.Second,
	}
}

// Files of a root file system's cache entry.
const (
	rootArchive    = "root.tar"
	caCertificates = "ca-certificates.crt"
)

// needless are the files, as patterns in the root file system, that no test reads. The last ones
// are of the host.
func needless() []string {
	return []string{
		"debootstrap", "var/cache/apt/*", "var/cache/debconf/*-old", "var/lib/apt/lists/*", "var/log/*.log", "var/log/apt",
		"usr/share/doc", "usr/share/info", "usr/share/locale", "usr/share/man", "usr/lib/jvm/*/jmods",
		"etc/hostname", "etc/resolv.conf",
	}
}

func (r rootFS) key() string {
	return keyOf("root file system", debian, runtime.GOARCH,
		fmt.Sprintf("%q %q %q %q", r.packages, r.account, r.folders, needless()))
}

func (r rootFS) complete(entry string) bool {
	return isFile(filepath.Join(entry, rootArchive)) && isFile(filepath.Join(entry, caCertificates))
}

// make writes the archive of the root file system, and its certificate authorities, which an image
// without one takes.
func (r rootFS) make(ctx context.Context, entry string, progress io.Writer) (err error) {
	begin := time.Now()
	unfinished, err := os.MkdirTemp(entry, temporary)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(unfinished)) }()
	root := filepath.Join(unfinished, "root")
	mirror, err := debianMirror(ctx, progress)
	if err != nil {
		return err
	}
	step := "debootstrap of " + r.name
	tellf(progress, "%s: %s with %s, about %s\n", step, debian, strings.Join(r.packages, ", "), r.takes)
	// In mounts of its own: what debootstrap mounts and an interruption keeps it from unmounting is
	// gone before the files are deleted here.
	args := []string{
		"unshare",
		"--mount",
		"debootstrap",
		"--variant=minbase",
		"--include=" + strings.Join(r.packages, ","),
		debian,
		root,
	}
	if mirror != "" {
		args = append(args, mirror)
	}
	if _, err := (command{dir: ".", args: args, talkative: true}).run(ctx, still(progress, step, begin)); err != nil {
		return err
	}
	if err := r.finish(root); err != nil {
		return err
	}
	archive := filepath.Join(unfinished, rootArchive)
	tar := command{
		dir:  root,
		args: []string{"tar", "--sort=name", "--numeric-owner", "--mtime=@0", "--exclude=./dev/*", "-cf", archive, "."},
	}
	if _, err := tar.run(ctx, still(progress, step, begin)); err != nil {
		return err
	}
	if err := os.Rename(
		filepath.Join(root, "etc", "ssl", "certs", caCertificates), filepath.Join(entry, caCertificates),
	); err != nil {
		return err
	}
	tellf(progress, "%s: done in %s\n", step, since(begin))
	return os.Rename(archive, filepath.Join(entry, rootArchive))
}

// finish removes what is needless and adds the account with its folders.
func (r rootFS) finish(root string) error {
	for _, pattern := range needless() {
		paths, err := fs.Glob(os.DirFS(root), pattern)
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := os.RemoveAll(filepath.Join(root, path)); err != nil {
				return err
			}
		}
	}
	if r.account == "" {
		return nil
	}
	for file, line := range map[string]string{
		"etc/passwd": fmt.Sprintf("%s:x:%d:%[2]d::/var/lib/istio:/usr/sbin/nologin\n", r.account, proxyUID),
		"etc/group":  fmt.Sprintf("%s:x:%d:\n", r.account, proxyUID),
	} {
		if err := appendTo(filepath.Join(root, file), line); err != nil {
			return err
		}
	}
	for _, folder := range r.folders {
		path := filepath.Join(root, folder)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := os.Chown(path, proxyUID, proxyUID); err != nil {
			return err
		}
	}
	return nil
}

func appendTo(path, line string) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(line)
	return errors.Join(err, file.Close())
}

// debianMirror is where this host gets this Debian release from, so that it works behind a
// company's mirror, or empty when it gets none: debootstrap knows a public one.
func debianMirror(ctx context.Context, progress io.Writer) (string, error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "", nil //nolint:nilerr // debootstrap works without apt-get
	}
	targets := command{dir: ".", args: []string{
		"apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages", "Origin: Debian",
		"Codename: " + debian, "Component: main",
	}}
	lines, err := targets.run(ctx, func(int) {})
	if err != nil || lines != "" {
		return firstMirror(lines), err
	}
	// Container images come without the lists that tell whose a source is.
	if _, err := aptGet("update").run(ctx, still(progress, "apt-get update", time.Now())); err != nil && ctx.Err() != nil {
		return "", err
	}
	lines, err = targets.run(ctx, func(int) {})
	return firstMirror(lines), err
}

// firstMirror is the first of these lines that debootstrap can read from, which knows less kinds of
// sources than apt.
func firstMirror(lines string) string {
	for line := range strings.Lines(lines) {
		scheme, _, _ := strings.Cut(line, ":")
		if slices.Contains([]string{"http", "https", "file"}, scheme) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
