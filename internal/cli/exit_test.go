package cli

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"mtls.egress/webhook/internal/adopt"
	"mtls.egress/webhook/internal/explain"
	"mtls.egress/webhook/internal/verify"
	"mtls.egress/webhook/test/pki"
)

// exampleRow is a row of the table of exit codes.
var exampleRow = regexp.MustCompile(`(?m)^\| ([0-9]) \| [^|]+ \| ([^|]+) \|$`)

// The examples of the table exit with the code of their row.
func TestExitCodesAreThoseOfTheTable(t *testing.T) {
	content, err := os.ReadFile("../../docs/reference/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]int{}
	for _, row := range exampleRow.FindAllStringSubmatch(string(content), -1) {
		code, _ := strconv.Atoi(row[1])
		for example := range strings.SplitSeq(row[2], "; ") {
			documented[strings.ReplaceAll(example, "`", "")] = code
		}
	}
	examples := examplesOfExitCodes(t)
	want, got := slices.Sorted(maps.Keys(examples)), slices.Sorted(maps.Keys(documented))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the examples (-test +table):\n%s", diff)
	}
	for example, run := range examples {
		t.Run(example, func(t *testing.T) {
			if err := run(t); ExitCode(err) != documented[example] {
				t.Errorf("exit code %d, want %d: %v", ExitCode(err), documented[example], err)
			}
		})
	}
}

// examplesOfExitCodes runs the examples of the table.
func examplesOfExitCodes(t *testing.T) map[string]func(*testing.T) error {
	t.Helper()
	command := func(stdin string, args ...string) func(*testing.T) error {
		return func(*testing.T) error {
			_, _, err := executeWith(stdin, args...)
			return err
		}
	}
	closed, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	unreachable := closed.Addr().String()
	store := newKeyStore(t)
	write(t, store.path("wrong.txt"), "wrong")
	ours := []string{"--p12", store.path("keystore.p12"), "--password-file", store.path("password.txt"),
		"--server-ca", store.path("server-ca.pem"), "--target", partnerHost}
	verifyAt := func(address string) error {
		_, _, err := execute(slices.Concat([]string{"credential", "verify", "--connect", address}, ours)...)
		return err
	}
	handshake := func(clients *pki.CA) func(*testing.T) error {
		return func(t *testing.T) error {
			address, _ := partner(t, clients, store.server.Issue(t, pki.Server(partnerHost)))
			return verifyAt(address)
		}
	}
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", nil)
	return map[string]func(*testing.T) error{
		"no finding":                          command("", "check", "-f", "../../examples/egress"),
		"a partner that takes the credential": handshake(store.issuing),

		"a finding":                             command(badPod, "check", "-f", "-"),
		"manifests that render refuses":         command(badPod, "render", "-f", "-"),
		"a set that adopt can't take over":      command("", "adopt", "-f", filepath.Join(adoptSets, "wildcard.yaml")),
		"a partner that refuses the credential": handshake(pki.NewCA(t, "Other")),
		"a partner that verify can't reach":     func(*testing.T) error { return verifyAt(unreachable) },
		"a step of adopt --apply without proof": func(t *testing.T) error { return oneStep(t, nil) },
		"a wrong password": command("", "credential", "import", store.path("keystore.p12"),
			"--password-file", store.path("wrong.txt"), "--target", partnerHost, "--server-ca", "system"),
		"a cause of failing calls": func(*testing.T) error {
			return resultError([]explain.Report{{Steps: []explain.Step{{State: explain.Failed, Cause: "NoSidecar"}},
				Result: explain.Result{Cause: "NoSidecar"}}})
		},
		"a target that isn't ready": func(*testing.T) error {
			return survey{Targets: []targetLine{{Ready: "False"}}}.err()
		},

		"a wrong command line":      command("", "check"),
		"a file that can't be read": command("", "check", "-f", "/nowhere"),
		"a cluster that doesn't answer": command("", "status", "-n", "a", "--kubeconfig",
			clusterAt(t, "https://"+unreachable)),
		"a cluster that forbids the request":  func(t *testing.T) error { return oneStep(t, forbidden) },
		"a server that server-ca can't reach": command("", "credential", "server-ca", partnerHost, "--connect", unreachable),
	}
}

// oneStep takes a step of an adoption that is never proven. If refused isn't nil, the API server
// refuses to write its object.
func oneStep(t *testing.T, refused error) error {
	t.Helper()
	a := adoptionOf(t, ourSidecar())
	a.timeout = time.Millisecond
	a.Client = fake.NewClientBuilder().WithScheme(a.Scheme()).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
			if refused != nil {
				return refused
			}
			return c.Create(ctx, object, options...)
		},
	}).Build()
	step := adopt.Step{Title: "record", Do: adopt.Action{
		Verb: adopt.Record, Proof: adopt.Open, Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "adopted", "namespace": "shop"},
		},
	}}
	return a.run(t.Context(), adoptedHost, []adopt.Step{step}, func(string) {})
}

func TestWhatTheAPIServerRefusesIsNoAnswer(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	for sentence, test := range map[string]struct {
		err  error
		want bool
	}{
		"nothing":                            {nil, false},
		"a call that failed":                 {errors.New("2 calls of the Pod shop failed"), false},
		"an object that doesn't exist":       {apierrors.NewNotFound(pods, "shop"), false},
		"a server that is overloaded":        {apierrors.NewServiceUnavailable("etcd is down"), true},
		"an account that may not":            {apierrors.NewForbidden(pods, "shop", nil), true},
		"the same in the error of the steps": {errors.Join(errors.New("step 1"), apierrors.NewUnauthorized("no")), true},
	} {
		if got := isUnanswered(test.err); got != test.want {
			t.Errorf("%s: %t, want %t", sentence, got, test.want)
		}
	}
	if _, _, err := execute("status", "-n", "a", "--kubeconfig", clusterAt(t, "http://127.0.0.1:1")); !isUnanswered(err) {
		t.Errorf("no server listens: %v", err)
	}
}

// An interrupted handshake, and a machine without CAs, say nothing about the partner.
func TestVerifyThatExaminedNothingExitsWith2(t *testing.T) {
	store := newKeyStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	flags := &verifyFlags{
		output: outputText, targetHost: partnerHost, p12: store.path("keystore.p12"),
		passwordFile: store.path("password.txt"), serverCA: store.path("server-ca.pem"),
	}
	flags.connect = "127.0.0.1:1"
	var out bytes.Buffer
	err := runVerify(ctx, strings.NewReader(""), &out, &out, "", flags, partnerNow())
	if !strings.Contains(out.String(), string(verify.ProbeInterrupted)) || ExitCode(err) != ExitUnable {
		t.Errorf("exit code %d: %v\n%s", ExitCode(err), err, out.String())
	}
}
