package apiserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Command is a program of the assets directory, such as kubectl or helm, that talks to this server
// as administrator. The caller's own kubectl and Helm settings and caches have no part in it. It
// runs in the current directory.
func (s *Server) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.Dir, "assets", program), args...)
	cmd.Env = Environment(s.Kubeconfig, s.Dir)
	return cmd
}

// Environment is that of a kubectl or helm which talks to the cluster of a kubeconfig and in which
// the caller's own settings have no part. Caches are kept in dir; empty: where the caller has them.
func Environment(kubeconfig, dir string) []string {
	environment := append(
		slices.DeleteFunc(os.Environ(), func(variable string) bool {
			return strings.HasPrefix(variable, "KUBE") || strings.HasPrefix(variable, "HELM_")
		}),
		"KUBECONFIG="+kubeconfig, "KUBERC=off",
	)
	if dir == "" {
		return environment
	}
	return append(environment,
		"KUBECACHEDIR="+filepath.Join(dir, "kubectl"), // kept by host and port, which the next server may have again
		"HELM_CACHE_HOME="+filepath.Join(dir, "helm", "cache"),
		"HELM_CONFIG_HOME="+filepath.Join(dir, "helm", "config"),
		"HELM_DATA_HOME="+filepath.Join(dir, "helm", "data"),
	)
}

// Kubectl runs kubectl and returns its outputs. The error carries standard error.
func (s *Server) Kubectl(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	return Output(s.Command(ctx, "kubectl", args...))
}

// Helm runs Helm and returns its outputs. The error carries standard error.
func (s *Server) Helm(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	return Output(s.Command(ctx, "helm", args...))
}

// Output runs a command and returns its outputs. The error carries standard error.
func Output(cmd *exec.Cmd) (stdout, stderr string, err error) {
	var out, problems strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err = cmd.Run(); err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", filepath.Base(cmd.Path), strings.Join(cmd.Args[1:], " "), err, problems.String())
	}
	return out.String(), problems.String(), err
}
