package admission_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/cli"
)

// TestNamesInTheClusterAreCompleted shows what a shell offers, from a real API server.
func TestNamesInTheClusterAreCompleted(t *testing.T) {
	w := newWorld(t)
	w.kubectl("create", "secret", "generic", "external-system-mtls-data", "--from-literal=a=b")
	w.kubectl("create", "deployment", "shop", "--image=registry.example/shop:1", "--replicas=0")
	w.kubectl("run", "probe", "--image=registry.example/shop:1")
	for typed, want := range map[string][]string{
		"explain ":                  {"deploy/shop", "probe"},
		"explain d":                 {"deploy/shop", "probe"},
		"credential inspect secret": {"secret/external-system-mtls-data"},
		"credential describe ":      {"secret/external-system-mtls-data"},
	} {
		t.Run(typed, func(t *testing.T) {
			root := cli.NewRootCommand()
			var out strings.Builder
			root.SetOut(&out)
			args := strings.Split(typed, " ")
			last := len(args) - 1
			args = append([]string{"__completeNoDesc"}, args[:last]...)
			args = append(args, "--kubeconfig="+installed.Kubeconfig, "--namespace="+w.namespace)
			root.SetArgs(append(args, strings.Split(typed, " ")[last]))
			if err := root.Execute(); err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(out.String()) {
				if line = strings.TrimSpace(line); !strings.HasPrefix(line, ":") {
					got = append(got, line)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
