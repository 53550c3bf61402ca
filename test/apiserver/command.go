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

// Command is a program of the assets directory, such as kubectl or helm, that talks to this server as administrator. The caller's own kubectl and Helm settings and caches
// have no part in it. It runs in the current directory.
func (s *Server) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.Dir, "assets", program), args...)
	cmd.Env = append(
		slices.DeleteFunc(os.Environ(), func(variable string) bool {
			return strings.HasPrefix(variable, "KUBE") || strings.HasPrefix(variable, "HELM_")
		}),
		"KUBECONFIG="+s.Kubeconfig,
		"KUBECACHEDIR="+filepath.Join(s.Dir, "kubectl"), // kept by host and port, which the next server may have again
		"KUBERC=off",
		"HELM_CACHE_HOME="+filepath.Join(s.Dir, "helm", "cache"),
		"HELM_CONFIG_HOME="+filepath.Join(s.Dir, "helm", "config"),
		"HELM_DATA_HOME="+filepath.Join(s.Dir, "helm", "data"),
	)
	return cmd
}

// Kubectl runs kubectl and returns its outputs. The error carries standard error.
func (s *Server) Kubectl(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	return run(s.Command(ctx, "kubectl", args...))
}

// Helm runs Helm and returns its outputs. The error carries standard error.
func (s *Server) Helm(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	return run(s.Command(ctx, "helm", args...))
}

func run(cmd *exec.Cmd) (stdout, stderr string, err error) {
	var out, problems strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err = cmd.Run(); err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", filepath.Base(cmd.Path), strings.Join(cmd.Args[1:], " "), err, problems.String())
	}
	return out.String(), problems.String(), err
}
