package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// apiServer returns a status and a body for the two requests of a command that creates a Secret. It
// simulates a broken cluster. TestImportOverwritesNoOtherCredential uses a real one.
func apiServer(t *testing.T, secret, egressTargets string, status int) (kubeconfig string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code, body := status, secret
		if strings.HasSuffix(r.URL.Path, "/egresstargets") {
			body = egressTargets
		}
		if body == "" && code == http.StatusOK {
			code = http.StatusNotFound
		}
		if code != http.StatusOK {
			reasons := map[int]string{
				http.StatusNotFound:     "NotFound",
				http.StatusForbidden:    "Forbidden",
				http.StatusUnauthorized: "Unauthorized",
			}
			body = fmt.Sprintf(
				`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d,"message":"no"}`,
				reasons[code], code)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	return kubeconfigFor(t, server.URL)
}

func kubeconfigFor(t *testing.T, url string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf(
		`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":%q}}],"contexts":[{"name":"c",`+
			`"context":{"cluster":"c","namespace":"project"}}],"current-context":"c"}`,
		url,
	)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestImportLooksForWhatItWouldOverwrite(t *testing.T) {
	const (
		secretOf = `{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":{"name":"api-bank-mtls-data",` +
			`"annotations":{"mtls.egress/host":%s}}}`
		targetsOf = `{"apiVersion":"mtls.egress/v1alpha1","kind":"EgressTargetList",` +
			`"items":[{"apiVersion":"mtls.egress/v1alpha1","kind":"EgressTarget","metadata":{"name":%q},"spec":%s}]}`
		unread = "Warning: can't check whether another host uses the Secret api-bank-mtls-data " +
			"in the namespace project: "
	)
	store := newKeyStore(t)
	marked := func(host string) string {
		encoded, err := json.Marshal(host)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(secretOf, encoded)
	}
	target := func(host, spec string) string { return fmt.Sprintf(targetsOf, host, spec) }
	tests := map[string]struct {
		secret, egressTargets string
		status                int
		args                  []string
		code                  int
		want                  string
	}{
		"nothing is there":            {status: http.StatusOK},
		"the Secret of the same host": {secret: marked("api.bank.de"), status: http.StatusOK},
		"a Secret without a mark": {
			secret: `{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":{"name":"s"}}`,
			status: http.StatusOK,
		},
		"an EgressTarget of the host itself": {egressTargets: target("api.bank.de", "{}"), status: http.StatusOK},
		"another host with its own Secret": {
			egressTargets: target("api.bank.com", `{"credential":{"secretName":"bank-com"}}`),
			status:        http.StatusOK,
		},
		"the Secret of another host": {
			secret: marked("api.bank.com"),
			status: http.StatusOK,
			code:   ExitNotFine,
			want: "the Secret api-bank-mtls-data holds the credential for api.bank.com (annotation " +
				"mtls.egress/host), which would be overwritten: set --secret-name to another name, or use --target " +
				"api.bank.com if both hosts get the same certificate",
		},
		"the Secret of another host under a name that was given": {
			secret: marked("api.bank.com"),
			status: http.StatusOK,
			args:   []string{"--secret-name", "shared"},
			code:   ExitNotFine,
			want: "the Secret shared holds the credential for api.bank.com (annotation mtls.egress/host), which " +
				"would be overwritten: set --secret-name to another name, or use --target api.bank.com if both " +
				"hosts get the same certificate",
		},
		"another host that has the Secret by default": {
			egressTargets: target("api.bank.com", "{}"),
			status:        http.StatusOK,
			code:          ExitNotFine,
			want: "the Secret api-bank-mtls-data is also the default Secret of the EgressTarget " +
				"api.bank.com and would be overwritten: set --secret-name to another name, and name it for " +
				"api.bank.de in the annotation mtls.egress/secret or in its EgressTarget",
		},
		"a name that was given": {
			egressTargets: target("api.bank.com", "{}"),
			status:        http.StatusOK,
			args:          []string{"--secret-name", "api-bank-mtls-data"},
		},
		"a mark that a terminal obeys": {
			secret: marked("\u202eapi\u001b[2J"),
			status: http.StatusOK,
			code:   ExitNotFine,
			want: "the Secret api-bank-mtls-data holds the credential for �api�[2J (annotation mtls.egress/host), " +
				"which would be overwritten: set --secret-name to another name, or use --target �api�[2J if both " +
				"hosts get the same certificate",
		},
		"an API server that allows no":        {status: http.StatusForbidden, want: unread + "no\n"},
		"an API server that rejects the user": {status: http.StatusUnauthorized, want: unread + "no\n"},
		"an API server that fails":            {status: http.StatusInternalServerError, want: unread + "no\n"},
		"-o text doesn't check the cluster": {
			secret: marked("api.bank.com"),
			status: http.StatusOK,
			args:   []string{"-o", "text"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			args := store.importing("api.bank.de", "--kubeconfig", apiServer(t, test.secret, test.egressTargets, test.status))
			stdout, stderr, code := executeCredential("", append(args, test.args...)...)
			if diff := cmp.Diff(test.want, stderr); diff != "" || code != test.code {
				t.Errorf("exit code %d, want %d; standard error (-want +got):\n%s", code, test.code, diff)
			}
			if printed := stdout != ""; printed != (test.code == 0) {
				t.Errorf("printed: %q", stdout)
			}
		})
	}
}

// If the cluster is unreachable, the command warns and still prints the manifest.
func TestImportNeedsNoCluster(t *testing.T) {
	store := newKeyStore(t)
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	args := store.importing("external.system.com")
	stdout, stderr, code := executeCredential("", append(args, "--kubeconfig", kubeconfigFor(t, closed.URL))...)
	if code != 0 || stdout == "" ||
		!strings.Contains(stderr,
			"Warning: can't check whether another host uses the Secret external-system-mtls-data "+
				"in the namespace project: ") {
		t.Errorf("exit code %d, standard error %q", code, stderr)
	}
	if _, stderr, code := executeCredential("", args...); code != 0 || stderr != "" {
		t.Errorf("without a kubeconfig: exit code %d, standard error %q", code, stderr)
	}
}
