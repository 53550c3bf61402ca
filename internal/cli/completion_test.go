package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestFlagsAreCompleted(t *testing.T) {
	kubeconfig := clusterAt(t, "http://127.0.0.1:1") // nothing answers there
	tests := map[string]struct {
		args []string
		want []string
	}{
		"an output format":              {[]string{"adopt", "--output", ""}, []string{"text", "yaml", "json"}},
		"a severity":                    {[]string{"check", "--fail-on", ""}, []string{"error", "warning", "none"}},
		"a context":                     {[]string{"explain", "--kubeconfig", kubeconfig, "--context", ""}, []string{"c"}},
		"a namespace without a cluster": {[]string{"explain", "--kubeconfig", kubeconfig, "--namespace", ""}, nil},
		"an argument without a cluster": {[]string{"explain", "--kubeconfig", kubeconfig, ""}, nil},
		"a command":                     {[]string{"ex"}, []string{"explain"}},
	}
	for sentence, test := range tests {
		t.Run(sentence, func(t *testing.T) {
			stdout, _, err := execute(append([]string{"__completeNoDesc"}, test.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(stdout) {
				if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, ":") {
					got = append(got, line)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestEveryOutputFormatIsCompleted(t *testing.T) {
	forEachCommand(NewRootCommand(), func(command *cobra.Command) {
		if command.Flags().Lookup("output") == nil || command.Name() == "version" {
			return
		}
		if _, found := command.GetFlagCompletionFunc("output"); !found {
			t.Errorf("%s --output has no completion", command.CommandPath())
		}
	})
}
