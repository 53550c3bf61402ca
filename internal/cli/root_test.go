package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// execute runs the command and returns its output.
func execute(args ...string) (stdout, stderr string, err error) {
	return executeWith("", args...)
}

// executeWith runs the command with stdin as standard input.
func executeWith(stdin string, args ...string) (stdout, stderr string, err error) {
	var out, problems bytes.Buffer
	root := NewRootCommand()
	root.SetArgs(args)
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&problems)
	err = root.Execute()
	return out.String(), problems.String(), err
}

// withoutUsage returns a message without the line of usage after it.
// TestWhatACommandRefusesEndsWithItsUsage wants that line for every command.
func withoutUsage(message string) string {
	problem, _, _ := strings.Cut(message, "\nUsage: ")
	return problem
}

func TestExitCodesAndMessages(t *testing.T) {
	const (
		seeServe   = "\nUsage: mtls-egress-webhook serve COMMAND\nSee mtls-egress-webhook serve --help"
		seeWebhook = "\nUsage: mtls-egress-webhook serve webhook [flags]\nSee mtls-egress-webhook serve webhook --help"
	)
	tests := map[string]struct {
		args []string
		code int
		want string
	}{
		"no command prints the help": {},
		"a command that is nearly one is suggested": {
			args: []string{"serv"},
			code: ExitUnable,
			want: `mtls-egress-webhook has no command "serv"; did you mean serve?` +
				"\nUsage: mtls-egress-webhook COMMAND\nSee mtls-egress-webhook --help",
		},
		"a command that is far from any leads to the help": {
			args: []string{"destroy"},
			code: ExitUnable,
			want: `mtls-egress-webhook has no command "destroy"` +
				"\nUsage: mtls-egress-webhook COMMAND\nSee mtls-egress-webhook --help",
		},
		"an unknown flag leads to the help of its command": {
			args: []string{"serve", "webhook", "--port=1"},
			code: ExitUnable,
			want: "mtls-egress-webhook serve webhook has no flag --port" + seeWebhook,
		},
		"a value of the wrong type is named": {
			args: []string{"serve", "webhook", "--webhook-port=https"},
			code: ExitUnable,
			want: `--webhook-port: "https" is not a whole number; write it as in --webhook-port=3` + seeWebhook,
		},
		"serve has two servers": {
			args: []string{"serve", "now"},
			code: ExitUnable,
			want: `mtls-egress-webhook serve has no command "now"` + seeServe,
		},
		"a server that is nearly named is suggested": {
			args: []string{"serve", "webhok"},
			code: ExitUnable,
			want: `mtls-egress-webhook serve has no command "webhok"; did you mean webhook?` + seeServe,
		},
		"a Secret to clean up without its namespace": {
			args: []string{"uninstall-cleanup", "--delete-secret=serving"},
			code: ExitUnable,
			want: `--delete-secret: "serving" is not NAMESPACE/NAME` + "\nUsage: mtls-egress-webhook uninstall-cleanup [flags]" +
				"\nSee mtls-egress-webhook uninstall-cleanup --help",
		},
		"a kubeconfig that uninstall-cleanup can't read": {
			args: []string{"uninstall-cleanup", "--kubeconfig=/nowhere"},
			code: ExitUnable,
			want: "loading the kubeconfig: stat /nowhere: no such file or directory",
		},
		"a kubeconfig that uninstall-check can't read": {
			args: []string{"uninstall-check", "--kubeconfig=/nowhere"},
			code: ExitUnable,
			want: "loading the kubeconfig: stat /nowhere: no such file or directory",
		},
		"an invalid target of admission-check": {
			args: []string{"admission-check", "--target=https://example.com"},
			code: ExitUnable,
			want: `--target: has a scheme, "https"; write the host alone, as in "example.com"` +
				"\nUsage: mtls-egress-webhook admission-check [flags]\nSee mtls-egress-webhook admission-check --help",
		},
		"a kubeconfig that admission-check can't read": {
			args: []string{"admission-check", "--kubeconfig=/nowhere"},
			code: ExitUnable,
			want: "loading the kubeconfig: stat /nowhere: no such file or directory",
		},
		"an option that can't be is usage": {
			args: []string{"serve", "controller"},
			code: ExitUnable,
			want: "--namespace: is required\nUsage: mtls-egress-webhook serve controller [flags]" +
				"\nSee mtls-egress-webhook serve controller --help",
		},
		"a kubeconfig that isn't there is unreadable input": {
			args: []string{"serve", "webhook", "--namespace=here", "--kubeconfig=/nowhere"},
			code: ExitUnable,
			want: "loading the kubeconfig: stat /nowhere: no such file or directory",
		},
		"a kubeconfig without a cluster": {
			args: []string{"status", "--kubeconfig=" + os.DevNull},
			code: ExitUnable,
			want: "no kubeconfig names a cluster: set --kubeconfig FILE or the variable KUBECONFIG, or run the command in a " +
				"Pod with a service account",
		},
		"a context that the kubeconfig doesn't have is named": {
			args: []string{"serve", "controller", "--namespace=here", "--kubeconfig=" + os.DevNull, "--context=there"},
			code: ExitUnable,
			want: `loading the kubeconfig: context "there" does not exist`,
		},
		"the version command succeeds": {args: []string{"version"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := execute(test.args...)
			message := ""
			if err != nil {
				message = err.Error()
			}
			if diff := cmp.Diff(test.want, message); diff != "" {
				t.Errorf("error differs (-want +got):\n%s", diff)
			}
			if code := ExitCode(err); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
		})
	}
}

func TestExitCodeIsThatOfTheWrappedError(t *testing.T) {
	failure := errors.New("failure")
	tests := map[string]struct {
		err  error
		code int
	}{
		"nothing failed":                   {code: ExitFine},
		"what was examined is not fine":    {err: notFine(failure), code: ExitNotFine},
		"the same in another error":        {err: fmt.Errorf("wrapped: %w", notFine(failure)), code: ExitNotFine},
		"the same among others":            {err: errors.Join(failure, notFine(failure)), code: ExitNotFine},
		"a failure":                        {err: failure, code: ExitUnable},
		"what was examined has no problem": {err: notFine(nil), code: ExitFine},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if code := ExitCode(test.err); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
		})
	}
	if err := notFine(failure); !errors.Is(err, failure) {
		t.Errorf("%v doesn't unwrap to %v", err, failure)
	}
}
