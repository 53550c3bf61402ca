package apiserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Assets returns the directory of etcd, kube-apiserver, kubectl and helm. It is what Tools
// provides, which on a machine that has none yet takes minutes.
func Assets(ctx context.Context) (string, error) { return Tools(ctx, "assets") }

// IstioCRDs returns the file with Istio's CustomResourceDefinitions, of the version of istio.io/api
// that the project is built with.
func IstioCRDs(ctx context.Context) (string, error) { return Tools(ctx, "istio-crds") }

// GatewayCRDs returns the folder with the CustomResourceDefinitions of the Gateway API, a file for
// each, of the version that the tests' Istio is built with.
func GatewayCRDs(ctx context.Context) (string, error) { return Tools(ctx, "gateway-crds") }

// PrometheusCRDs returns the folder with the CustomResourceDefinitions of the Prometheus operator.
func PrometheusCRDs(ctx context.Context) (string, error) { return Tools(ctx, "prometheus-crds") }

// Promtool runs Prometheus's promtool in a directory. The error carries what it prints.
func Promtool(ctx context.Context, dir string, args ...string) error {
	folder, err := Tools(ctx, "promtool")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(folder, "promtool"), args...)
	cmd.Dir = dir
	if stdout, _, err := Output(cmd); err != nil {
		return fmt.Errorf("%w\n%s", err, stdout)
	}
	return nil
}

// WorkloadCRDs returns the files with the CustomResourceDefinitions of Argo Rollouts, Knative
// Services and JobSets.
func WorkloadCRDs(ctx context.Context) ([]string, error) {
	files, err := Tools(ctx, "workload-crds")
	return filepath.SplitList(files), err
}

// Root returns the project's directory. The process must run within it.
func Root(ctx context.Context) (string, error) {
	root, _, err := Output(exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "mtls.egress/webhook"))
	return strings.TrimSpace(root), err
}

// Tools returns the path that a command of test/tools prints. It is the one in the command's
// variable, such as MTLS_EGRESS_ISTIO_CRDS, which `make test` sets: then no test builds or
// downloads anything. Without the variable, the command runs with the arguments, and makes what is
// missing. Its progress goes to standard error. The process must run within the project.
func Tools(ctx context.Context, command string, args ...string) (string, error) {
	if path := os.Getenv(toolsVariable(command)); path != "" {
		return path, nil
	}
	root, err := Root(ctx)
	if err != nil {
		return "", err
	}
	run := append([]string{"-C", filepath.Join(root, "test", "tools"), "run", ".", command}, args...)
	cmd := exec.CommandContext(ctx, "go", run...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	path, err := cmd.Output()
	return strings.TrimSpace(string(path)), err
}

// toolsVariable names the variable of a command of test/tools, such as MTLS_EGRESS_ISTIO_CRDS of
// istio-crds.
func toolsVariable(command string) string {
	return "MTLS_EGRESS_" + strings.ToUpper(strings.ReplaceAll(command, "-", "_"))
}
