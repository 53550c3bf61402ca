// Package admission_test runs the whole product on a real API server: the chart as Helm installs
// it, the webhook and the controller, each with the rights of its service account, Istio's CRDs.
// There is no kubelet and there are no controllers of Kubernetes: the tests create Pods as those
// would.
package admission_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/installation"
)

// host is the target of most tests, and what follows from it.
const (
	host    = "external.system.com"
	secret  = "external-system-mtls-data"
	volume  = "mtls-egress-external-system-com"
	address = "254.110.240.171"
)

// installed is shared by the tests of this package, which use a namespace each and run one after
// the other.
var installed *installation.Installation

// auditPolicy has every write to the generated objects recorded, and nothing else.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  verbs: [create, update, patch, delete]
  resources:
  - group: networking.istio.io
- level: None
`

func TestMain(m *testing.M) {
	code, err := run(context.Background(), m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(ctx context.Context, m *testing.M) (code int, err error) {
	if installed, err = installation.Start(ctx, installation.Options{
		APIServer: apiserver.Options{AuditPolicy: auditPolicy},
	}); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, installed.Stop()) }()
	return m.Run(), nil
}

// world is a test's namespace.
type world struct {
	*testing.T
	client.Client
	namespace string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	admin, err := client.New(installed.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := admin.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, process := range installed.Processes() {
				t.Logf("the log of %s ends with:\n%s", process.Name, ending(process.Log))
			}
		}
	})
	return &world{T: t, Client: admin, namespace: namespace.Name}
}

// unprotect gives both keys to the namespace that switch the protection of generated objects off,
// and returns when an attempt, a dry run that a policy refuses before, succeeds.
func (w *world) unprotect(attempt func() error) {
	w.Helper()
	w.Cleanup(func() {
		if err := installed.Upgrade(context.WithoutCancel(w.Context())); err != nil {
			w.Error(err)
		}
	})
	if err := attempt(); !apierrors.IsForbidden(err) {
		w.Fatalf("with the protection on: %v; want it refused", err)
	}
	if err := installed.Upgrade(w.Context(), "policy.exemptNamespaces={"+w.namespace+"}"); err != nil {
		w.Fatal(err)
	}
	w.kubectl("label", "namespace", w.namespace, "mtls.egress/protection=off")
	await.Eventually(w, "the protection is off", attempt)
}

func ending(file string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// kubectl runs kubectl in the test's namespace.
func (w *world) kubectl(args ...string) string {
	w.Helper()
	stdout, _, err := installed.Kubectl(w.Context(), append(args, "--namespace", w.namespace)...)
	if err != nil {
		w.Fatal(err)
	}
	return stdout
}

// kubectlWith runs kubectl in the test's namespace with a manifest as its input, which args name as
// -f -.
func (w *world) kubectlWith(manifest string, args ...string) string {
	w.Helper()
	stdout, err := installed.KubectlWith(w.Context(), manifest, append(args, "--namespace", w.namespace)...)
	if err != nil {
		w.Fatal(err)
	}
	return stdout
}

func (w *world) create(object client.Object) {
	w.Helper()
	object.SetNamespace(w.namespace)
	if err := w.Create(w.Context(), object); err != nil {
		w.Fatal(err)
	}
}

func (w *world) read(object client.Object, name string) {
	w.Helper()
	if err := w.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, object); err != nil {
		w.Fatal(err)
	}
}

// remove deletes an object at once, as there is no kubelet to wait for.
func (w *world) remove(object client.Object) {
	w.Helper()
	if err := w.Delete(w.Context(), object, client.GracePeriodSeconds(0)); err != nil {
		w.Fatal(err)
	}
}

// metric is what webhook and controller count.
func (w *world) metric(name string, labels map[string]string) float64 {
	w.Helper()
	value, err := installed.Metric(w.Context(), name, labels)
	if err != nil {
		w.Fatal(err)
	}
	return value
}

// admissions are the requests that the webhook answered, with labels in pairs of name=value.
func (w *world) admissions(labels ...string) float64 {
	w.Helper()
	wanted := map[string]string{}
	for _, label := range labels {
		name, value, _ := strings.Cut(label, "=")
		wanted[name] = value
	}
	return w.metric("mtls_egress_admission_requests_total", wanted)
}

// egressTarget waits until the EgressTarget of a host has the condition and returns it.
func (w *world) egressTarget(
	name, condition string,
	status metav1.ConditionStatus,
	reason string,
) *v1alpha1.EgressTarget {
	w.Helper()
	egressTarget := &v1alpha1.EgressTarget{}
	await.Eventually(w, condition+" is "+string(status)+", "+reason, func() error {
		if err := w.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, egressTarget); err != nil {
			return err
		}
		found := meta.FindStatusCondition(egressTarget.Status.Conditions, condition)
		if found == nil || found.Status != status || found.Reason != reason ||
			found.ObservedGeneration != egressTarget.Generation {
			return fmt.Errorf("the condition is %+v", found)
		}
		return nil
	})
	return egressTarget
}

// programmed waits until the Istio objects are there. The Pods have no sidecar, so the target isn't
// ready.
func (w *world) programmed() *v1alpha1.EgressTarget {
	w.Helper()
	return w.egressTarget(host, v1alpha1.ConditionProgrammed, metav1.ConditionTrue, "Programmed")
}

// credential creates the Secret with the command that the example documents.
func (w *world) credential() {
	w.Helper()
	dir := w.TempDir()
	if err := installation.WriteCredential(dir, time.Now()); err != nil {
		w.Fatal(err)
	}
	w.kubectlIn(dir, "create", "secret", "generic", secret, "--namespace", w.namespace,
		"--from-file=cert=client.crt", "--from-file=key=client.key", "--from-file=cacert=server-ca.crt")
}

// kubectlIn runs kubectl as it stands, in a directory.
func (w *world) kubectlIn(dir string, args ...string) string {
	w.Helper()
	stdout, err := installed.KubectlIn(w.Context(), dir, args...)
	if err != nil {
		w.Fatal(err)
	}
	return stdout
}

// istioObject names a generated object.
type istioObject struct{ kind, name string }

// generated are the objects of the host in the order of their writing.
func generated() []istioObject {
	return []istioObject{
		{"ServiceEntry", "mtls-egress"}, {
			"VirtualService", "mtls-egress-" + host,
		}, {"DestinationRule", "mtls-egress-" + host}, {"ServiceEntry", "mtls-egress-" + host},
		{"ServiceEntry", "mtls-egress--app." + host},
	}
}

func (o istioObject) empty() *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetAPIVersion("networking.istio.io/v1")
	object.SetKind(o.kind)
	object.SetName(o.name)
	return object
}

// istio reads a generated object.
func (w *world) istio(o istioObject) *unstructured.Unstructured {
	w.Helper()
	object := o.empty()
	w.read(object, o.name)
	return object
}

// istioObjects are the names of all Istio objects of the namespace, as kind/name.
func (w *world) istioObjects() []string {
	w.Helper()
	return strings.Fields(w.kubectl("get", "serviceentries,virtualservices,destinationrules,sidecars", "--output=name"))
}

// writes are what the controller did to Istio objects of the namespace, in order, each as verb,
// resource and name; requests that the API server refused have their status at the end.
func (w *world) writes() []string {
	w.Helper()
	events, err := installed.Audited()
	if err != nil {
		w.Fatal(err)
	}
	var lines []string
	for _, event := range events {
		if event.ObjectRef == nil || event.ObjectRef.Namespace != w.namespace || event.User.Username != installation.User {
			continue
		}
		line := event.Verb + " " + event.ObjectRef.Resource + "/" + event.ObjectRef.Name
		if event.ResponseStatus != nil && event.ResponseStatus.Code >= 300 {
			line += fmt.Sprintf(" %d", event.ResponseStatus.Code)
		}
		lines = append(lines, line)
	}
	return lines
}

// annotated is a Pod that asks for the host, changed by change.
func annotated(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	pod := plain(name)
	pod.Annotations = map[string]string{"mtls.egress/target": host}
	for _, one := range change {
		one(pod)
	}
	return pod
}

func plain(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
}

// withSidecar gives a Pod a sidecar, as somebody who injects by hand.
func withSidecar(pod *corev1.Pod) {
	pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "istio-proxy", Image: "proxy"})
}
