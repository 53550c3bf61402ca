package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestThePluginSaysWhatWasTyped(t *testing.T) {
	tests := map[string]struct {
		program string
		args    []string
		want    string
	}{
		"the help of a command": {
			program: "/home/me/.krew/bin/kubectl-mtls_egress",
			args:    []string{"render", "--help"},
			want:    "  kubectl mtls-egress render -f examples/egress --explain\n",
		},
		"an unknown command": {
			program: `kubectl-mtls_egress.exe`,
			args:    []string{"destroy"},
			want: `kubectl mtls-egress has no command "destroy"` +
				"\nUsage: kubectl mtls-egress COMMAND\nSee kubectl mtls-egress --help",
		},
		"without kubectl": {
			program: "/usr/local/bin/mtls-egress-webhook",
			args:    []string{"render", "--help"},
			want:    "  mtls-egress-webhook render -f examples/egress --explain\n",
		},
	}
	for sentence, test := range tests {
		t.Run(sentence, func(t *testing.T) {
			root := Typed(NewRootCommand(), test.program)
			var out bytes.Buffer
			root.SetOut(&out)
			root.SetArgs(test.args)
			if err := root.Execute(); err != nil {
				out.WriteString(Message(err))
			}
			if !strings.Contains(out.String(), test.want) {
				t.Errorf("got %s\nwant a part to be %q", out.String(), test.want)
			}
		})
	}
}

func TestNoHelpOfThePluginNamesTheProgram(t *testing.T) {
	root := Typed(NewRootCommand(), "kubectl-mtls_egress")
	forEachCommand(root, func(command *cobra.Command) {
		if text := command.Example + command.UsageString(); strings.Contains(text, name+" ") {
			t.Errorf("%s: %s", command.CommandPath(), text)
		}
	})
}
