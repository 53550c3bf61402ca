package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// temporary starts the name of everything in the cache that is not complete yet.
const temporary = "tmp-"

// servers are the programs that a directory of envtest assets holds.
func servers() []string { return []string{"etcd", "kube-apiserver", "kubectl"} }

// assets returns the directory that holds etcd, kube-apiserver, kubectl and helm, and makes what is
// missing.
func assets(ctx context.Context, progress io.Writer) (string, error) {
	root, err := cacheRoot(os.Getenv)
	if err != nil {
		return "", err
	}
	key, err := assetSet().key()
	if err != nil {
		return "", err
	}
	entry, unlock, err := enter(root, key, progress)
	if err != nil {
		return "", err
	}
	defer unlock()
	links, err := provide(ctx, entry, progress)
	if err != nil {
		return "", err
	}
	return link(entry, "assets-", links)
}

// provide makes the programs that are missing in the cache entry and returns what the assets
// directory has to link to.
func provide(ctx context.Context, entry string, progress io.Writer) (map[string]string, error) {
	found, err := look(entry, time.Now())
	if err != nil {
		return nil, err
	}
	directory := ""
	switch choose(found) {
	case given:
		directory = found.given
	case downloaded:
		directory = found.downloaded
	case download:
		if directory, err = setupEnvtest(ctx, entry, progress); err != nil {
			return nil, err
		}
	case built:
	}
	folder := builtFolder(entry)
	links, fromSource := linkSet(folder, directory,
		func(name string) bool { return isProgram(filepath.Join(directory, name)) })
	missing := slices.DeleteFunc(fromSource, func(p program) bool { return isProgram(filepath.Join(folder, p.name)) })
	return links, build(ctx, assetSet().module, folder, missing, progress)
}

// source is where the servers come from.
type source string

const (
	given      source = "the directory in KUBEBUILDER_ASSETS"
	downloaded source = "an earlier download by setup-envtest"
	download   source = "a download by setup-envtest"
	built      source = "a build from source"
)

// retryDownload is how long a failed download is remembered.
const retryDownload = 24 * time.Hour

// findings are the facts that decide where the servers come from.
type findings struct {
	given          string        // value of KUBEBUILDER_ASSETS
	built          bool          // the cache has all servers, built from source
	downloaded     string        // directory that setup-envtest filled earlier and that still holds the servers, or empty
	downloadFailed bool          // setup-envtest failed earlier
	sinceFailure   time.Duration // time since then
}

func choose(f findings) source {
	switch {
	case f.given != "":
		return given
	case f.built:
		return built
	case f.downloaded != "":
		return downloaded
	case f.downloadFailed && f.sinceFailure < retryDownload:
		return built
	default:
		return download
	}
}

// look gathers the findings from the environment and the cache entry.
func look(entry string, now time.Time) (findings, error) {
	f := findings{given: os.Getenv("KUBEBUILDER_ASSETS"), built: true}
	if f.given != "" {
		directory, err := filepath.Abs(f.given)
		if err != nil {
			return f, err
		}
		f.given = directory
		if missing := missingServers(f.given); len(missing) > 0 {
			return f, fmt.Errorf(
				"KUBEBUILDER_ASSETS=%s has no program %s: point it to a directory with %s, or unset it to have them provided",
				f.given,
				strings.Join(missing, ", "),
				strings.Join(servers(), ", "),
			)
		}
	}
	links, _ := linkSet(builtFolder(entry), "", nil)
	for _, name := range servers() {
		f.built = f.built && isProgram(links[name])
	}
	if path, err := os.ReadFile(filepath.Join(entry, downloadedFile)); err == nil &&
		len(missingServers(string(path))) == 0 {
		f.downloaded = string(path)
	}
	info, err := os.Stat(filepath.Join(entry, failedFile))
	if err == nil {
		f.downloadFailed, f.sinceFailure = true, now.Sub(info.ModTime())
	} else if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	return f, nil
}

func missingServers(directory string) []string {
	var missing []string
	for _, name := range servers() {
		if !isProgram(filepath.Join(directory, name)) {
			missing = append(missing, name)
		}
	}
	return missing
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// linkSet is the content of the assets directory: each name, and the file that it stands for. That
// is the program of the directory when there is one that has it, else the one built from source;
// fromSource are the programs for which the latter happens.
func linkSet(built, directory string, has func(name string) bool) (links map[string]string, fromSource []program) {
	links = map[string]string{}
	for _, p := range assetSet().programs {
		used := false
		for _, name := range p.names {
			if directory != "" && has(name) {
				links[name] = filepath.Join(directory, name)
				continue
			}
			links[name] = filepath.Join(built, p.name)
			used = true
		}
		if used {
			fromSource = append(fromSource, p)
		}
	}
	return links, fromSource
}

// link makes the directory of these links, if there is none yet, and returns its path. The names
// are relative paths in it. The directory's own name begins with prefix and stands for the links,
// so it never changes its content.
func link(entry, prefix string, links map[string]string) (string, error) {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(links)) {
		sum.Write(fmt.Appendf(nil, "%q %q\n", name, links[name]))
	}
	directory := filepath.Join(entry, prefix+hex.EncodeToString(sum.Sum(nil))[:8])
	if _, err := os.Stat(directory); err == nil {
		return directory, nil
	}
	unfinished, err := os.MkdirTemp(entry, temporary)
	if err != nil {
		return "", err
	}
	for name, target := range links {
		path := filepath.Join(unfinished, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := os.Symlink(target, path); err != nil {
			return "", err
		}
	}
	return directory, os.Rename(unfinished, directory)
}
