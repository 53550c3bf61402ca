// Package workloads_test runs the controllers of Argo Rollouts and JobSet next to the whole product
// on a real API server. There are no controllers of Kubernetes, so ReplicaSets and Jobs have no
// Pods.
package workloads_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/installation"
)

// The hosts that the tests request.
const (
	host  = "external.system.com"
	other = "api.partner.example"
)

// programsVariable has the directory that `go -C test/tools run . workloads` prints.
const programsVariable = "MTLS_EGRESS_WORKLOADS"

// installed and running are shared by the tests, which use a namespace each. They are nil without
// the programs.
var (
	installed *installation.Installation
	running   *controllers
)

func TestMain(m *testing.M) {
	code, err := run(context.Background(), m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(ctx context.Context, m *testing.M) (code int, err error) {
	programs := os.Getenv(programsVariable)
	if programs == "" {
		return m.Run(), nil
	}
	running = newControllers(programs)
	if installed, err = installation.Start(ctx, installation.Options{BeforeInstall: begin}); err != nil {
		return 1, errors.Join(err, running.stop())
	}
	defer func() { err = errors.Join(err, running.stop(), installed.Stop()) }()
	return m.Run(), nil
}

// earlier is the namespace with an annotated Rollout that is older than the product. Its test can
// run only once.
const earlier = "earlier"

// begin starts the controllers, and creates the Rollout in the namespace earlier.
func begin(ctx context.Context, i *installation.Installation) (err error) {
	installed = i
	defer func() {
		if err != nil {
			err = errors.Join(err, running.lastWords())
		}
	}()
	if err := running.start(ctx); err != nil {
		return err
	}
	if _, _, err := installed.Kubectl(ctx, "create", "namespace", earlier); err != nil {
		return err
	}
	if _, err := installed.Submit(ctx, "create", earlier, fmt.Sprintf(rollout, asks(host))); err != nil {
		return err
	}
	_, _, err = installed.Kubectl(ctx, "wait", "rollout/shop", "--namespace", earlier,
		"--for=condition=Completed", "--timeout="+await.Patience.String())
	return err
}

// world is a test's namespace.
type world struct {
	*testing.T
	namespace string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t}
	w.needPrograms()
	namespace, err := installed.Admin.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.namespace = namespace.Name
	return w
}

// needPrograms skips the test without the programs. If it fails, it shows what they said.
func (w *world) needPrograms() {
	w.Helper()
	if running == nil {
		w.Skip("needs the programs of Argo Rollouts and JobSet in " + programsVariable + ": run make test-workloads")
	}
	w.Cleanup(func() {
		if w.Failed() {
			w.Log(running.lastWords())
		}
	})
}

// submit passes a manifest to a command of kubectl and returns what it prints, warnings included.
// After a conflict it tries again: kubectl replace reads the object first, and a controller may
// write the status meanwhile.
func (w *world) submit(command, manifest string) (said string) {
	w.Helper()
	await.Eventually(w, "kubectl "+command, func() (err error) {
		said, err = installed.Submit(w.Context(), command, w.namespace, manifest)
		if err != nil && !strings.Contains(err.Error(), "Error from server (Conflict)") {
			return await.Final(err)
		}
		return err
	})
	return said
}

func (w *world) kubectl(args ...string) string {
	w.Helper()
	stdout, _, err := installed.Kubectl(w.Context(), append(args, "--namespace", w.namespace)...)
	if err != nil {
		w.Fatal(err)
	}
	return stdout
}

// read decodes an object. Its name is as in kubectl: jobset/shop.
func (w *world) read(name string, into any) {
	w.Helper()
	if err := json.Unmarshal([]byte(w.kubectl("get", name, "--output=json")), into); err != nil {
		w.Fatal(err)
	}
}

// asks returns the annotations of a workload that requests a host, for a manifest. An empty host
// stands for no annotation, here and below.
func asks(host string) string {
	if host == "" {
		return "{}"
	}
	return fmt.Sprintf("{mtls.egress/target: %s}", host)
}

// propagated returns what the webhook sets in the annotations of a Pod template for the host.
func propagated(host string) map[string]string {
	if host == "" {
		return map[string]string{}
	}
	return map[string]string{
		"mtls.egress/target": host, "mtls.egress/propagated": fmt.Sprintf(`{"mtls.egress/target":%q}`, host),
	}
}

// ours returns those of the annotations that belong to the product.
func ours(annotations map[string]string) map[string]string {
	found := map[string]string{}
	for key, value := range annotations {
		if strings.HasPrefix(key, "mtls.egress/") {
			found[key] = value
		}
	}
	return found
}
