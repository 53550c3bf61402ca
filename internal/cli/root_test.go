package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/test/golden"
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

func TestExitCodesAndMessages(t *testing.T) {
	tests := map[string]struct {
		args []string
		code int
		want string
	}{
		"no command prints the help": {},
		"a command that is nearly one is suggested": {
			args: []string{"serv"},
			code: ExitUsage,
			want: `mtls-egress-webhook has no command "serv"; did you mean serve?`,
		},
		"a command that is far from any leads to the help": {
			args: []string{"destroy"},
			code: ExitUsage,
			want: `mtls-egress-webhook has no command "destroy"; see mtls-egress-webhook --help`,
		},
		"an unknown flag leads to the help of its command": {
			args: []string{"serve", "webhook", "--port=1"},
			code: ExitUsage,
			want: "unknown flag: --port; see mtls-egress-webhook serve webhook --help",
		},
		"a value of the wrong type is named": {
			args: []string{"serve", "webhook", "--webhook-port=https"},
			code: ExitUsage,
			want: `invalid argument "https" for "--webhook-port" flag: strconv.ParseInt: parsing "https": invalid ` +
				`syntax; see mtls-egress-webhook serve webhook --help`,
		},
		"serve has two servers": {
			args: []string{"serve", "now"},
			code: ExitUsage,
			want: `mtls-egress-webhook serve has no command "now"; see mtls-egress-webhook serve --help`,
		},
		"a server that is nearly named is suggested": {
			args: []string{"serve", "webhok"},
			code: ExitUsage,
			want: `mtls-egress-webhook serve has no command "webhok"; did you mean webhook?`,
		},
		"serve webhook takes no arguments": {
			args: []string{"serve", "webhook", "now"},
			code: ExitUsage,
			want: `unknown command "now" for "mtls-egress-webhook serve webhook"`,
		},
		"serve controller takes no arguments": {
			args: []string{"serve", "controller", "now"},
			code: ExitUsage,
			want: `unknown command "now" for "mtls-egress-webhook serve controller"`,
		},
		"uninstall-check takes no arguments": {
			args: []string{"uninstall-check", "now"},
			code: ExitUsage,
			want: `unknown command "now" for "mtls-egress-webhook uninstall-check"`,
		},
		"uninstall-cleanup takes no arguments": {
			args: []string{"uninstall-cleanup", "now"},
			code: ExitUsage,
			want: `unknown command "now" for "mtls-egress-webhook uninstall-cleanup"`,
		},
		"a Secret to clean up without its namespace": {
			args: []string{"uninstall-cleanup", "--delete-secret=serving"},
			code: ExitUsage,
			want: `--delete-secret: "serving" is not NAMESPACE/NAME`,
		},
		"a kubeconfig that uninstall-cleanup can't read": {
			args: []string{"uninstall-cleanup", "--kubeconfig=/nowhere"},
			code: ExitUsage,
			want: "loading the kubeconfig: stat /nowhere: no such file or directory",
		},
		"a kubeconfig that uninstall-check can't read": {
			args: []string{"uninstall-check", "--kubeconfig=/nowhere"},
			code: ExitUsage,
			want: "loading the kubeconfig: stat /nowhere: no such file or directory",
		},
		"admission-check takes no arguments": {
			args: []string{"admission-check", "now"},
			code: ExitUsage,
			want: `unknown command "now" for "mtls-egress-webhook admission-check"`,
		},
		"an invalid target of admission-check": {
			args: []string{"admission-check", "--target=https://example.com"},
			code: ExitUsage,
			want: `--target: has a scheme, "https"; write the host alone, as in "example.com"`,
		},
		"a kubeconfig that admission-check can't read": {
			args: []string{"admission-check", "--kubeconfig=/nowhere"},
			code: ExitUsage,
			want: "loading the kubeconfig: stat /nowhere: no such file or directory",
		},
		"version takes no arguments": {
			args: []string{"version", "now"},
			code: ExitUsage,
			want: `unknown command "now" for "mtls-egress-webhook version"`,
		},
		"an option that can't be is usage": {
			args: []string{"serve", "controller"},
			code: ExitUsage,
			want: "--namespace: is required",
		},
		"a kubeconfig that isn't there is unreadable input": {
			args: []string{"serve", "webhook", "--namespace=here", "--kubeconfig=/nowhere"},
			code: ExitUsage,
			want: "loading the kubeconfig: stat /nowhere: no such file or directory",
		},
		"a context that the kubeconfig doesn't have is named": {
			args: []string{"serve", "controller", "--namespace=here", "--kubeconfig=" + os.DevNull, "--context=there"},
			code: ExitUsage,
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
		"nothing failed":               {code: ExitDone},
		"a failure":                    {err: failure, code: ExitFailed},
		"a usage error":                {err: usageError(failure), code: ExitUsage},
		"a usage error in another one": {err: fmt.Errorf("wrapped: %w", usageError(failure)), code: ExitUsage},
		"no usage error":               {err: usageError(nil), code: ExitDone},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if code := ExitCode(test.err); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
		})
	}
	if err := usageError(failure); !errors.Is(err, failure) {
		t.Errorf("%v doesn't unwrap to %v", err, failure)
	}
}

func TestHelpOfTheServersIsTheGoldenOne(t *testing.T) {
	for _, server := range []string{"webhook", "controller"} {
		t.Run(server, func(t *testing.T) {
			stdout, stderr, err := execute("serve", server, "--help")
			if err != nil || stderr != "" {
				t.Fatalf("error %v, standard error %q", err, stderr)
			}
			// component-base pads lines to the full width.
			got := regexp.MustCompile(` +\n`).ReplaceAllString(stdout, "\n")
			golden.Compare(t, filepath.Join("..", "..", "test", "testdata", "cli", "serve-"+server+"-help.txt"),
				[]byte(got))
		})
	}
}

// The help of the parent lists every subcommand.
func TestHelpNamesEverything(t *testing.T) {
	root := NewRootCommand()
	stdout, _, err := execute()
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range root.Commands() {
		if !strings.Contains(stdout, "\n  "+command.Name()+" ") {
			t.Errorf("the help lacks the command %s:\n%s", command.Name(), stdout)
		}
		if command.Short == "" {
			t.Errorf("the command %s has no short description", command.Name())
		}
	}
}
