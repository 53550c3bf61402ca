package apiserver

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Assets returns the directory of etcd, kube-apiserver, kubectl and helm: the one in MTLS_EGRESS_ASSETS, else the one that test/tools provides, which on a machine
// that has none yet takes minutes and reports its progress on standard error. The process must run within the project.
func Assets(ctx context.Context) (string, error) {
	if directory := os.Getenv("MTLS_EGRESS_ASSETS"); directory != "" {
		return directory, nil
	}
	return Tools(ctx, "assets")
}

// IstioCRDs returns the file with Istio's CustomResourceDefinitions, of the version of istio.io/api that the project is built with.
func IstioCRDs(ctx context.Context) (string, error) { return Tools(ctx, "istio-crds") }

// PrometheusCRDs returns the folder with the CustomResourceDefinitions of the Prometheus operator.
func PrometheusCRDs(ctx context.Context) (string, error) { return Tools(ctx, "prometheus-crds") }

// Root returns the project's directory. The process must run within it.
func Root(ctx context.Context) (string, error) {
	root, _, err := Output(exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "mtls.egress/webhook"))
	return strings.TrimSpace(root), err
}

// Tools returns what a command of test/tools provides, and has it made when it isn't there yet. Progress goes to standard error. The process must run within the project.
func Tools(ctx context.Context, command string) (string, error) {
	root, err := Root(ctx)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "-C", filepath.Join(root, "test", "tools"), "run", ".", command)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	path, err := cmd.Output()
	return strings.TrimSpace(string(path)), err
}
