package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// keepUnused is how long a cache entry stays after its last use: longer than a branch rests,
// shorter than a year of updates at 200 MB each.
const keepUnused = 30 * 24 * time.Hour

// cacheRoot is the folder of all cache entries, as a function of the environment.
func cacheRoot(getenv func(string) string) (string, error) {
	switch own, xdg, home := getenv("MTLS_EGRESS_CACHE"), getenv("XDG_CACHE_HOME"), getenv("HOME"); {
	case own != "":
		return filepath.Abs(own)
	case xdg != "":
		return filepath.Abs(filepath.Join(xdg, "mtls-egress-webhook"))
	case home != "":
		return filepath.Abs(filepath.Join(home, ".cache", "mtls-egress-webhook"))
	default:
		return "", errors.New("no folder for the cache: set MTLS_EGRESS_CACHE, XDG_CACHE_HOME or HOME")
	}
}

// cacheKey names what is built: the pinned modules, the sources in these folders of the module, the
// recipe (what is built from them, and how) and the platform. Tests have no part in it.
func cacheKey(module fs.FS, sources []string, recipe, platform string) (string, error) {
	files := []string{"go.mod", "go.sum"}
	for _, folder := range sources {
		err := fs.WalkDir(module, folder, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && !strings.HasSuffix(path, "_test.go") && !slices.Contains(files, path) {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			return "", err
		}
	}
	sum := sha256.New()
	for _, file := range files {
		content, err := fs.ReadFile(module, file)
		if err != nil {
			return "", err
		}
		sum.Write(fmt.Appendf(nil, "%s %d\n%s\n", file, len(content), content))
	}
	sum.Write(fmt.Appendf(nil, "%s\n%s\n", recipe, platform))
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

// keyOf names what follows from these facts alone. To add a kind of thing to the cache, start
// with a fact that says what it is.
func keyOf(facts ...string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", facts))
	return hex.EncodeToString(sum[:])[:16]
}

// enter creates the cache entry if there is none yet, waits until this process is the only one that
// works in it and tidies up. The caller has to unlock it.
func enter(root, key string, progress io.Writer) (entry string, unlock func(), err error) {
	entry = filepath.Join(root, key)
	if err := os.MkdirAll(entry, 0o755); err != nil {
		return "", nil, err
	}
	unlock, err = lock(entry, progress)
	if err != nil {
		return "", nil, err
	}
	if err := prune(entry, time.Now()); err != nil {
		unlock()
		return "", nil, err
	}
	return entry, unlock, nil
}

// lock waits until this process is the only one that works in the cache entry, and returns the
// function that lets the next one in. The kernel lets go of the lock of a process that dies.
func lock(entry string, progress io.Writer) (unlock func(), err error) {
	path := filepath.Join(entry, "lock")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		tellf(progress, "another process is preparing the same programs: waiting for it, lock file %s\n", path)
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
	}
	return func() { _ = file.Close() }, nil
}

// prune removes the cache entries next to the one in use that nothing has used for keepUnused, and
// the one's leftovers of interrupted builds. The caller holds the lock.
func prune(entry string, now time.Time) error {
	leftovers, err := filepath.Glob(filepath.Join(entry, temporary+"*"))
	if err != nil {
		return err
	}
	for _, path := range leftovers {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	locks, err := filepath.Glob(filepath.Join(filepath.Dir(entry), "*", "lock"))
	if err != nil {
		return err
	}
	for _, path := range locks {
		info, err := os.Stat(path)
		if err == nil && now.Sub(info.ModTime()) > keepUnused && filepath.Dir(path) != entry {
			err = os.RemoveAll(filepath.Dir(path))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Chtimes(filepath.Join(entry, "lock"), now, now)
}
