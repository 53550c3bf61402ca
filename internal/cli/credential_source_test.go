package cli

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The messages of Kubernetes for invalid names.
const (
	subdomainRule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', " +
		"and must start and end with an alphanumeric character " +
		`(e.g. 'example.com', regex used for validation is ` +
		`'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`
	labelRule = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must " +
		"start and end with an alphanumeric character " +
		"(e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)

func TestSecretsInTheClusterAreNamedAsForKubectl(t *testing.T) {
	type named struct {
		Name     string
		IsSecret bool
	}
	for argument, want := range map[string]named{
		"secret/a":   {"a", true},
		"secrets/a":  {"a", true},
		"secret/":    {"", true},
		"secret":     {"secret", false},
		"./secret/a": {"./secret/a", false},
		"a":          {"a", false},
		"-":          {"-", false},
	} {
		name, isSecret := secretNamed(argument)
		if diff := cmp.Diff(want, named{name, isSecret}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", argument, diff)
		}
	}
}

// The test covers errors that occur before a request. test/credential covers the responses of an
// API server.
func TestInspectSaysWhereToLook(t *testing.T) {
	kubeconfig := filepath.Join("testdata", "kubeconfig.yaml")
	nowhere := filepath.Join(t.TempDir(), "none")
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"a name without a file": {[]string{"external-system-mtls-data"}, "open external-system-mtls-data: " +
			"no such file or directory; for the Secret in the cluster, write secret/external-system-mtls-data"},
		"a path can't be a Secret's": {[]string{nowhere}, "open " + nowhere + ": no such file or directory"},
		"a cluster for a file": {[]string{exampleOf("client.pem"), "-n", "project"},
			"--namespace, --kubeconfig and --context require a Secret in the cluster, written as secret/NAME; " +
				exampleOf("client.pem") + " is a file"},
		"no name": {[]string{"secret/"}, "secret/ is not a valid Secret name: " +
			subdomainRule + "; for a file in a directory of that name, write ./secret/"},
		"an invalid namespace": {[]string{"secret/a", "-n", "A"}, "--namespace A: " + labelRule},
		"a kubeconfig that isn't there": {[]string{"secret/a", "--kubeconfig", nowhere},
			"loading the kubeconfig: stat " + nowhere + ": no such file or directory"},
		"a context that isn't there": {[]string{"secret/a", "--kubeconfig", kubeconfig, "--context", "third"},
			`loading the kubeconfig: context "third" does not exist`},
		"a server that isn't there": {[]string{"secret/a", "--kubeconfig", kubeconfig},
			"the API server https://127.0.0.1:1 can't be reached: dial tcp 127.0.0.1:1: connect: connection refused"},
		"the server of the context": {[]string{"secret/a", "--kubeconfig", kubeconfig, "--context", "second"},
			"the API server https://127.0.0.1:2 can't be reached: dial tcp 127.0.0.1:2: connect: connection refused"},
		"the same for secrets, in plural": {[]string{"secrets/a", "--kubeconfig", kubeconfig},
			"the API server https://127.0.0.1:1 can't be reached: dial tcp 127.0.0.1:1: connect: connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := executeCredential("", append([]string{"inspect"}, test.args...)...)
			if diff := cmp.Diff(test.want, stderr); diff != "" || stdout != "" || code != ExitUnable {
				t.Errorf("exit code %d, standard output %q, standard error (-want +got):\n%s", code, stdout, diff)
			}
		})
	}
}

func TestUnreadSecretsAreExplainedInOneSentence(t *testing.T) {
	secrets := schema.GroupResource{Resource: "secrets"}
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"not found": {apierrors.NewNotFound(secrets, "a"), "the namespace ns has no Secret a; " +
			"set -n for another namespace"},
		"forbidden": {apierrors.NewForbidden(secrets, "a", errors.New("no")), `you are not allowed to get the ` +
			`Secret a in the namespace ns: secrets "a" is forbidden: no`},
		"unauthorized": {apierrors.NewUnauthorized("Unauthorized"), "the API server https://host doesn't accept the " +
			"credentials in the kubeconfig; log in again: Unauthorized"},
		"another": {apierrors.NewInternalError(errors.New("etcd")), "reading the Secret a of the namespace ns " +
			"from https://host: Internal error occurred: etcd"},
	} {
		t.Run(name, func(t *testing.T) {
			got := explainUnread(test.err, "ns", "a", "https://host").Error()
			if diff := cmp.Diff(test.want, got); diff != "" || strings.Contains(got, "\n") {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
