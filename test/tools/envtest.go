package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// setupEnvtestModule has the version of the sigs.k8s.io/controller-runtime that the webhook is
	// built with.
	setupEnvtestModule = "sigs.k8s.io/controller-runtime/tools/setup-envtest@v0.24.1"
	downloadLimit      = 60 * time.Second

	// Files of a cache entry: the directory that setup-envtest filled, and the reason why it could
	// not, with the time of the failure as the file's.
	downloadedFile = "setup-envtest.directory"
	failedFile     = "setup-envtest.failed"
)

// setupEnvtest downloads the servers and returns their directory, or an empty string when they
// can't be downloaded, which is remembered in the cache entry. An error means that the caller
// should give up.
func setupEnvtest(ctx context.Context, entry string, progress io.Writer) (string, error) {
	v, err := pinned(ctx)
	if err != nil {
		return "", err
	}
	major, minor, err := v.minor()
	if err != nil {
		return "", err
	}
	tellf(progress, "setup-envtest: downloading %s for Kubernetes %s.%s, for at most %s\n",
		strings.Join(servers(), ", "), major, minor, downloadLimit)
	begin := time.Now()
	limited, cancel := context.WithTimeoutCause(ctx, downloadLimit, fmt.Errorf("not done after %s", downloadLimit))
	defer cancel()
	directory, err := runGo(limited, ".", func(int) {}, "run", setupEnvtestModule, "use",
		major+"."+minor+".x", "-p", "path")
	if err == nil {
		if missing := missingServers(directory); len(missing) > 0 {
			err = fmt.Errorf("%s has no program %s", directory, strings.Join(missing, ", "))
		}
	}
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err != nil:
		tellf(progress, "setup-envtest can't (%s): building from source instead; next try in %s\n", brief(err), retryDownload)
		return "", os.WriteFile(filepath.Join(entry, failedFile), []byte(err.Error()), 0o644)
	default:
		tellf(progress, "setup-envtest: done in %s\n", since(begin))
		return directory, os.WriteFile(filepath.Join(entry, downloadedFile), []byte(directory), 0o644)
	}
}
