package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/explain"
)

func TestWhatExplainRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no argument": {[]string{"explain"}, "mtls-egress-webhook explain needs an argument: POD, KIND/NAME or egt/HOST"},
		"several wrong flags": {
			[]string{"explain", "shop", "-n", "A", "--target", "https://example.com"},
			"--namespace A: a lowercase RFC 1123 label must consist of lower case " +
				"alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or " +
				"'123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')\n--target: has a scheme, \"https\"; " +
				"write the host alone, as in \"example.com\"",
		},
		"a kind that creates no Pods": {
			[]string{"explain", "service/shop"},
			`"service" is not a kind that creates Pods; write pod/NAME, a kind such as deploy/NAME, or egt/HOST`,
		},
		"a name with a slash": {[]string{"explain", "deploy/a/b"}, `"deploy/a/b" is not POD, KIND/NAME or egt/HOST`},
		"a kubeconfig that isn't there": {
			[]string{"explain", "shop", "--kubeconfig=/nowhere"},
			"loading the kubeconfig: stat /nowhere: no such file or directory",
		},
		"status with both namespaces": {
			[]string{"status", "-n", "a", "-A"},
			"--namespace and --all-namespaces can't both be set",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := execute(test.args...)
			if err == nil || ExitCode(err) != ExitUnable {
				t.Fatalf("error %v, exit code %d", err, ExitCode(err))
			}
			if diff := cmp.Diff(test.want, withoutUsage(err.Error())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestExitCodesOfExplain(t *testing.T) {
	report := func(state explain.State, cause explain.Cause) explain.Report {
		return explain.Report{Steps: []explain.Step{{State: state, Cause: cause}}, Result: explain.Result{Cause: cause}}
	}
	for name, test := range map[string]struct {
		reports []explain.Report
		code    int
	}{
		"all is well": {[]explain.Report{report(explain.OK, "")}, ExitFine},
		"one of two hosts " +
			"fails": {[]explain.Report{report(explain.OK, ""), report(explain.Failed, "NoSidecar")}, ExitNotFine},
		"nothing could be read":      {[]explain.Report{report(explain.Unknown, "")}, ExitUnable},
		"one host could not be read": {[]explain.Report{report(explain.Unknown, ""), report(explain.OK, "")}, ExitFine},
	} {
		t.Run(name, func(t *testing.T) {
			if code := ExitCode(resultError(test.reports)); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
		})
	}
}
