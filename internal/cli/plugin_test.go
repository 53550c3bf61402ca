package cli

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
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

// What a command prints about other commands can be copied.
func TestThePluginPrintsCommandsThatItsUserHas(t *testing.T) {
	store := newKeyStore(t)
	answering := httptest.NewServer(cluster(apiAnswers{
		"/api/v1/namespaces/a/pods": {http.StatusOK, corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1",
			Kind: "PodList"}}},
		"/apis/mtls.egress/v1alpha1/namespaces/a/egresstargets": {http.StatusOK, v1alpha1.EgressTargetList{
			TypeMeta: metav1.TypeMeta{APIVersion: "mtls.egress/v1alpha1", Kind: "EgressTargetList"},
			Items:    []v1alpha1.EgressTarget{{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "external.system.com"}}},
		}},
	}))
	t.Cleanup(answering.Close)
	for sentence, test := range map[string]struct {
		args []string
		want string
	}{
		"the next steps of import": {
			append([]string{"credential"}, store.importing(partnerHost)...),
			"Try a handshake: kubectl mtls-egress credential verify ",
		},
		"the next step of csr": {
			[]string{"credential", "csr", partnerHost, "--subject", "CN=orders", "--out-dir", t.TempDir()},
			"run: kubectl mtls-egress credential complete ",
		},
		"an error": {
			[]string{"status", "-n", "a", "--kubeconfig", clusterAt(t, answering.URL)},
			"run kubectl mtls-egress explain for one of them",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			root := Typed(NewRootCommand(), "kubectl-mtls_egress")
			var out bytes.Buffer
			root.SetOut(&out)
			root.SetErr(&out)
			root.SetArgs(test.args)
			if err := root.Execute(); err != nil {
				out.WriteString(Message(err))
			}
			if !strings.Contains(out.String(), test.want) || strings.Contains(out.String(), name+" ") {
				t.Errorf("got %s\nwant a part to be %q", out.String(), test.want)
			}
		})
	}
}

// A script would complete a program that users of the plugin don't call.
func TestThePluginHasNoCompletionScript(t *testing.T) {
	want := "a plugin has no completion script of its own: kubectl completes it with the program " +
		"kubectl_complete-mtls_egress; put that into a folder of your PATH, as in docs/how-to/kubectl-plugin.md"
	for _, args := range [][]string{{"completion"}, {"completion", "bash"}, {"completion", "tcsh", "x"}} {
		root := Typed(NewRootCommand(), "/home/me/.krew/bin/kubectl-mtls_egress")
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs(args)
		err := root.Execute()
		if err == nil || Message(err) != want || ExitCode(err) != ExitUnable || out.Len() > 0 {
			t.Errorf("%q: error %v, exit code %d, output %q", args, err, ExitCode(err), out.String())
		}
	}
	if usage := Typed(NewRootCommand(), "kubectl-mtls_egress").UsageString(); strings.Contains(usage, "completion") {
		t.Errorf("the help lists it: %s", usage)
	}
	if _, err := os.Stat("../../examples/kubectl-plugin/kubectl_complete-mtls_egress"); err != nil {
		t.Error(err)
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
