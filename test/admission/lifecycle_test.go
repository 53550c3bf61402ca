package admission_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/installation"
	"mtls.egress/webhook/test/pki"
)

func TestTenDeploymentsShareAHost(t *testing.T) {
	w := newWorld(t)
	w.credential()
	pods := make([]*corev1.Pod, 10)
	for n := range pods {
		deployment := annotatedDeployment(fmt.Sprintf("shop-%d", n))
		w.create(deployment)
		pod, err := installed.CreatePod(t.Context(), deployment)
		if err != nil {
			t.Fatal(err)
		}
		pods[n] = pod
	}
	w.programmed()
	w.podsAre(10)
	all := w.istioObjects()
	want := []string{
		"serviceentry.networking.istio.io/mtls-egress",
		"serviceentry.networking.istio.io/mtls-egress--app.external.system.com",
		"serviceentry.networking.istio.io/mtls-egress-external.system.com",
		"virtualservice.networking.istio.io/mtls-egress-external.system.com",
		"destinationrule.networking.istio.io/mtls-egress-external.system.com",
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("objects of ten Deployments (-want +got):\n%s", diff)
	}
	written := w.writes()
	wantWritten := []string{
		"patch serviceentries/mtls-egress", "patch virtualservices/mtls-egress-external.system.com",
		"patch destinationrules/mtls-egress-external.system.com", "patch serviceentries/mtls-egress-external.system.com",
		"patch serviceentries/mtls-egress--app.external.system.com",
	}
	if diff := cmp.Diff(wantWritten, written); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}

	for _, pod := range pods[:9] {
		w.remove(pod)
	}
	w.podsAre(1)
	if diff := cmp.Diff(all, w.istioObjects()); diff != "" {
		t.Errorf("objects after nine are gone (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(written, w.writes()); diff != "" {
		t.Errorf("writes after nine are gone (-want +got):\n%s", diff)
	}

	w.remove(pods[9])
	start := time.Now()
	await.Eventually(w, "the EgressTarget leaves", func() error {
		if err := w.Get(t.Context(), key(w, host), &v1alpha1.EgressTarget{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there (error %w)", err)
		}
		return nil
	})
	t.Logf("removed %s after the last Pod, with a retention of 2s", time.Since(start).Round(time.Millisecond))
	wantRemoved := slices.Clone(wantWritten)
	slices.Reverse(wantRemoved)
	for n := range wantRemoved {
		wantRemoved[n] = strings.Replace(wantRemoved[n], "patch", "delete", 1)
	}
	await.Eventually(w, "the objects leave in the order opposite to that of their coming", func() error {
		if diff := cmp.Diff(append(slices.Clone(written), wantRemoved...), w.writes()); diff != "" {
			return fmt.Errorf("writes (-want +got):\n%s", diff)
		}
		return nil
	})
	if left := w.istioObjects(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// podsAre waits until so many Pods are counted.
func (w *world) podsAre(count int32) {
	w.Helper()
	await.Eventually(w, fmt.Sprintf("%d Pods are counted", count), func() error {
		var egressTarget v1alpha1.EgressTarget
		if err := w.Get(w.Context(), key(w, host), &egressTarget); err != nil || egressTarget.Status.Pods != count {
			return fmt.Errorf("%d Pods, error %w", egressTarget.Status.Pods, err)
		}
		return nil
	})
}

func TestAGeneratedObjectThatSomebodyChangesOrDeletesIsBack(t *testing.T) {
	w := newWorld(t)
	w.credential()
	w.create(annotated("shop", withSidecar))
	w.programmed()
	w.unprotect(func() error {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"exportTo":["*"]}}`))
		for _, o := range generated() {
			if err := w.Patch(t.Context(), o.in(w.namespace), patch, client.DryRunAll); err != nil {
				return err
			}
		}
		return nil
	})
	for _, o := range generated() {
		want := w.istio(o)
		back := func(what string) {
			t.Helper()
			start := time.Now()
			await.Eventually(w, what, func() error {
				got := o.empty()
				if err := w.Get(t.Context(), key(w, o.name), got); err != nil {
					return err
				}
				if diff := cmp.Diff(meaning(want), meaning(got)); diff != "" {
					return fmt.Errorf("(-want +got):\n%s", diff)
				}
				return nil
			})
			t.Logf("%s %s was back after %s: %s", o.kind, o.name, time.Since(start).Round(time.Millisecond), what)
		}
		w.remove(w.istio(o))
		back("deleted")
		for what, patch := range map[string]string{
			"hosts changed": map[bool]string{
				true:  `{"spec":{"host":"evil.example"}}`,
				false: `{"spec":{"hosts":["evil.example"]}}`,
			}[o.kind == "DestinationRule"],
			"exported to all":     `{"spec":{"exportTo":["*"]}}`,
			"its label taken off": `{"metadata":{"labels":{"app.kubernetes.io/managed-by":null}}}`,
		} {
			changed := o.in(w.namespace)
			if err := w.Patch(
				t.Context(), changed, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner("somebody"),
			); err != nil {
				t.Fatal(err)
			}
			if cmp.Equal(meaning(want), meaning(changed)) {
				t.Errorf("%s %s is as it was: %s", o.kind, o.name, what)
			}
			back(what)
		}
	}
}

// meaning is what of a generated object has to stay.
func meaning(object *unstructured.Unstructured) []any {
	return []any{object.Object["spec"], object.GetLabels(), object.GetOwnerReferences()}
}

func TestWhereTheNamespaceIsProtectedNobodyTouchesAGeneratedObject(t *testing.T) {
	w := newWorld(t)
	w.credential()
	w.create(annotated("shop", withSidecar))
	w.programmed()
	for _, o := range generated() {
		const want = `%s.networking.istio.io %q is forbidden: ValidatingAdmissionPolicy ` +
			`'mtls-egress-webhook-generated-objects' with binding 'mtls-egress-webhook-generated-objects' denied request: %s ` +
			`%s is generated from an EgressTarget and provides mutual TLS for Pods: without it, or with another spec, owner, ` +
			`finalizer, or Istio label or annotation, their calls fail or leave in plain text. Change the EgressTarget ` +
			`instead, or delete it when no Pod uses the host anymore. To write this object anyway, an administrator must ` +
			`exempt the namespace in two places: the chart's value policy.exemptNamespaces, and its label: kubectl label ` +
			`namespace %s mtls.egress/protection=off`
		plural := map[string]string{
			"ServiceEntry":    "serviceentries",
			"VirtualService":  "virtualservices",
			"DestinationRule": "destinationrules",
		}[o.kind]
		wanted := fmt.Sprintf(want, plural, o.name, o.kind, o.name, w.namespace)
		before := w.istio(o)
		for what, err := range map[string]error{
			"deleted": w.Delete(t.Context(), o.in(w.namespace)),
			"changed": w.Patch(t.Context(), o.in(w.namespace),
				client.RawPatch(types.MergePatchType, []byte(`{"spec":{"exportTo":["*"]}}`))),
			"given to another revision of Istio": w.Patch(t.Context(), o.in(w.namespace),
				client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"istio.io/rev":"nobody"}}}`))),
			"held by a finalizer": w.Patch(t.Context(), o.in(w.namespace),
				client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.com/a"]}}`))),
		} {
			if err == nil || err.Error() != wanted {
				t.Errorf("%s %s: error %q, want %q", o.kind, what, err, wanted)
			}
		}
		if diff := cmp.Diff(before, w.istio(o)); diff != "" {
			t.Errorf("%s (-before +after):\n%s", o.kind, diff)
		}
	}
}

func (o istioObject) in(namespace string) *unstructured.Unstructured {
	object := o.empty()
	object.SetNamespace(namespace)
	return object
}

func TestAnotherVirtualServiceStaysAsItIsAndIsNamed(t *testing.T) {
	w := newWorld(t)
	w.credential()
	w.kubectlWith(`{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"name":"partner"},
		"spec":{"hosts":["external.system.com"],"http":[{"route":[{"destination":{"host":"elsewhere.system.com"}}]}]}}`,
		"apply", "--filename=-")
	theirs := istioObject{"VirtualService", "partner"}
	before := w.istio(theirs)
	w.create(annotated("shop", withSidecar))
	egressTarget := w.egressTarget(host, v1alpha1.ConditionConflicted, metav1.ConditionTrue, "Conflict")
	message := meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionConflicted).Message
	t.Log(message)
	for _, part := range []string{"VirtualService " + w.namespace + "/partner", "spec.hosts[0]"} {
		if !strings.Contains(message, part) {
			t.Errorf("the message does not say %q: %s", part, message)
		}
	}
	if diff := cmp.Diff(before, w.istio(theirs)); diff != "" {
		t.Errorf("the other object (-before +after):\n%s", diff)
	}
	row := strings.Fields(strings.Split(w.kubectl("get", "egt"), "\n")[1])
	if diff := cmp.Diff([]string{host, "False", "Conflict"}, row[:3]); diff != "" {
		t.Errorf("kubectl get egt (-want +got):\n%s", diff)
	}

	w.remove(w.istio(theirs))
	w.programmed()
}

func TestAPodWithoutASidecarIsToldOf(t *testing.T) {
	w := newWorld(t)
	w.create(annotated("with", withSidecar))
	without := annotated("without")
	w.create(without)
	const want = "Warning NoSidecar without the Pod has a target in mtls.egress/target but no container istio-proxy, so " +
		"its calls are dropped: " +
		"the sinkhole address is not routed; enable sidecar injection for the namespace (istio-injection: enabled, or " +
		"istio.io/rev) and recreate the Pod\n"
	await.Eventually(w, "there is an event", func() error {
		got := w.kubectl("get", "events", "--field-selector=involvedObject.kind=Pod",
			"--output=jsonpath={range .items[*]}{.type} {.reason} {.involvedObject.name} {.message}{\"\\n\"}{end}")
		if got != want {
			return fmt.Errorf("events %q, want %q", got, want)
		}
		return nil
	})
	await.Eventually(w, "it is counted", func() error {
		if got := w.metric("mtls_egress_pods_without_sidecar", map[string]string{"namespace": w.namespace}); got != 1 {
			return fmt.Errorf("the metric counts %v Pods without a sidecar, want 1", got)
		}
		return nil
	})
}

// closed fails unless the target is closed: the anchor, and a route that the sidecar answers
// itself.
func (w *world) closed() {
	w.Helper()
	await.Eventually(w, "the target is closed", func() error {
		want := []string{
			"serviceentry.networking.istio.io/mtls-egress", "serviceentry.networking.istio.io/mtls-egress--app." + host,
			"virtualservice.networking.istio.io/mtls-egress-" + host,
		}
		if diff := cmp.Diff(want, w.istioObjects()); diff != "" {
			return fmt.Errorf("the objects (-want +got):\n%s", diff)
		}
		return nil
	})
	spec := w.istio(istioObject{"VirtualService", "mtls-egress-" + host}).Object["spec"].(map[string]any)
	route := spec["http"].([]any)[0].(map[string]any)
	if response, _ := route["directResponse"].(map[string]any); fmt.Sprint(response["status"]) != "503" ||
		route["route"] != nil {
		w.Errorf("the route is %v, want a direct response with 503", route)
	}
}

func TestAMissingSecretIsToldOfWithTheCommandThatMakesIt(t *testing.T) {
	w := newWorld(t)
	w.create(annotated("shop", withSidecar))
	egressTarget := w.egressTarget(host, v1alpha1.ConditionReady, metav1.ConditionFalse, "SecretMissing")
	message := meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionReady).Message
	want := fmt.Sprintf(
		"the Secret external-system-mtls-data doesn't exist in the namespace %s; create it with: kubectl create secret "+
			"generic external-system-mtls-data -n %s "+
			"--from-file=cert=client.crt --from-file=key=client.key --from-file=cacert=server-ca.crt; or from a .p12 file "+
			"with: mtls-egress-webhook credential import FILE.p12 --target external.system.com --server-ca server-ca.crt "+
			"-n %s | kubectl apply -f -",
		w.namespace, w.namespace, w.namespace,
	)
	if diff := cmp.Diff(want, message); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
	w.closed()

	_, command, _ := strings.Cut(message, "create it with: kubectl ")
	command, _, _ = strings.Cut(command, "; or from ")
	dir := t.TempDir()
	if err := installation.WriteCredential(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	w.kubectlIn(dir, strings.Fields(command)...)
	start := time.Now()
	w.programmed()
	t.Logf("ready %s after the Secret was created", time.Since(start).Round(time.Millisecond))
}

func TestASecretThatCantBeUsedIsToldOfAndClosesTheTarget(t *testing.T) {
	now := time.Now()
	ca := pki.NewCA(t, "Partner CA")
	leaf := func(notBefore, notAfter time.Time) pki.Pair {
		template := pki.Client("shop")
		template.NotBefore, template.NotAfter = notBefore, notAfter
		return ca.Issue(t, template)
	}
	good := leaf(now.Add(-time.Hour), now.Add(time.Hour))
	expired := leaf(now.Add(-2*time.Hour), now.Add(-time.Hour))
	early := leaf(now.Add(time.Hour), now.Add(2*time.Hour))
	server := ca.Issue(t, pki.Server("shop.example"))
	data := func(certificate, key, serverCA []byte) map[string][]byte {
		return map[string][]byte{"cert": certificate, "key": key, "cacert": serverCA}
	}
	subject := func(pair pki.Pair) string {
		return fmt.Sprintf("(subject %q, serial %x)", pair.Certificate.Subject.String(),
			pair.Certificate.SerialNumber.Bytes())
	}
	tests := map[string]struct {
		data         map[string][]byte
		reason, want string
	}{
		"an empty Secret": {map[string][]byte{}, "LayoutUnknown",
			`the Secret has neither the keys "cert" and "key" (with the CA in "cacert") nor "tls.crt" and "tls.key" (with the ` +
				`CA in "ca.crt"): rename its keys, or name the keys to use in spec.credential.keys of the EgressTarget`},
		"a Secret without a key": {map[string][]byte{"cert": good.CertPEM, "cacert": ca.CertPEM}, "SecretKeyMissing",
			`"key" (private key) is missing`},
		"an empty key": {data(good.CertPEM, nil, ca.CertPEM), "SecretKeyMissing", `"key" (private key) is empty`},
		"the key of another": {data(good.CertPEM, early.KeyPEM, ca.CertPEM), "PrivateKeyMismatch",
			`"key" (private key) does not match the certificate in "cert" ` + subject(good) + `: store the ` +
				`private key that this certificate was requested with`},
		"an expired certificate": {data(expired.CertPEM, expired.KeyPEM, ca.CertPEM), "CertificateExpired",
			`"cert" (client certificate) expired on ` + expired.Certificate.NotAfter.Format(time.RFC3339) + " " +
				subject(expired) + `: request a new one from its issuer`},
		"one that is not yet valid": {data(early.CertPEM, early.KeyPEM, ca.CertPEM), "CertificateNotYetValid",
			`"cert" (client certificate) is valid only from ` + early.Certificate.NotBefore.Format(time.RFC3339) + " on " +
				subject(early) + `: use the previous one until then`},
		"one for servers only": {data(server.CertPEM, server.KeyPEM, ca.CertPEM), "NotForClientAuth",
			`"cert" (client certificate) can't be used as a TLS client ` + subject(server) + `: its extended key ` +
				`usage is serverAuth; it must be clientAuth`},
		"a certificate that is garbage": {data([]byte("garbage"), good.KeyPEM, ca.CertPEM), "CertificateUnreadable",
			`"cert" (client certificate) is not PEM: it has no BEGIN line`},
		"a Secret without a CA": {map[string][]byte{"cert": good.CertPEM, "key": good.KeyPEM}, "ServerCAMissing",
			`"cacert" (CA of the server) is missing; without it the sidecar can't authenticate the server`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret}, Data: test.data})
			w.create(annotated("shop", withSidecar))
			var condition *metav1.Condition
			await.Eventually(w, "there is a verdict", func() error {
				var egressTarget v1alpha1.EgressTarget
				err := w.Get(t.Context(), key(w, host), &egressTarget)
				if condition = meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionReady); condition == nil {
					return fmt.Errorf("no condition, error %w", err)
				}
				return nil
			})
			want := []string{"False", test.reason, "the Secret " + secret + " can't be used: " + test.want}
			if diff := cmp.Diff(want, []string{string(condition.Status), condition.Reason, condition.Message}); diff != "" {
				t.Errorf("Ready (-want +got):\n%s", diff)
			}
			w.closed()
		})
	}
}

// TestADryRunWritesNothing also not in the process that answers it.
func TestADryRunWritesNothing(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	for n, k := range kinds() {
		if err := os.WriteFile(
			filepath.Join(dir, k.name+".json"), []byte(k.manifest("mtls.egress/target="+fmt.Sprintf("host-%d.example", n))),
			0o600,
		); err != nil {
			t.Fatal(err)
		}
	}
	injected := w.admissions("kind=Pod", "decision=injected")
	printed := w.kubectl("apply", "--dry-run=server", "--output=yaml", "--filename="+dir)
	if got := strings.Count(printed, "mtls.egress/propagated:"); got != len(kinds()) {
		t.Errorf("the dry run propagated %d times, want %d", got, len(kinds()))
	}
	pod := annotated("shop")
	pod.Namespace = w.namespace
	if err := w.Create(t.Context(), pod, client.DryRunAll); err != nil || pod.Labels["mtls.egress/injected"] != "true" {
		t.Errorf("a dry run left the labels %v, error %v", pod.Labels, err)
	}
	if got := w.admissions("kind=Pod", "decision=injected") - injected; got != 1 {
		t.Errorf("%v Pods were injected, want 1", got)
	}
	// A real Pod in another namespace shows that the controller had the time to do something.
	other := newWorld(t)
	other.credential()
	other.create(annotated("shop", withSidecar))
	other.programmed()
	if found := w.kubectl("get", "all,egresstargets,serviceentries,virtualservices,destinationrules",
		"--output=name"); found != "" {
		t.Errorf("written: %s", found)
	}
}
