package cli

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/adopt"
)

const adoptedHost = "external.system.com"

// stubSidecar answers with what a test says.
type stubSidecar struct {
	clusters    []string
	certificate string
	calls       SidecarCalls
	err         error
}

func (s stubSidecar) Clusters(context.Context, string) ([]string, error) { return s.clusters, s.err }

func (s stubSidecar) Certificate(context.Context, string) (string, error) {
	return s.certificate, s.err
}

func (s stubSidecar) Calls(context.Context, ...string) (SidecarCalls, error) { return s.calls, s.err }

func ourSidecar() stubSidecar {
	return stubSidecar{
		clusters:    []string{"outbound|443|mtls-egress|external.system.com.mtls-egress.internal"},
		certificate: "file-cert:/etc/mtls-egress/external.system.com/cert~/etc/mtls-egress/external.system.com/key",
	}
}

func handSidecar() stubSidecar {
	return stubSidecar{
		clusters: []string{"outbound|443||external.system.com"}, certificate: "file-cert:/etc/by-hand/cert~/etc/by-hand/key",
	}
}

// adoptionOf returns an adoption of the workload shop in a cluster with the objects.
func adoptionOf(t *testing.T, sidecar stubSidecar, objects ...client.Object) *adoption {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	return &adoption{
		adoptCluster: &adoptCluster{
			Client:    fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build(),
			namespace: "shop", timeout: time.Minute, sidecar: func(*corev1.Pod) Sidecar { return sidecar },
		},
		host: adoptedHost, selectors: []map[string]string{{"app": "shop"}}, failed: map[string]uint64{},
	}
}

func sidecarPod(name string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "1", Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "istio-proxy", Image: "proxy"}}},
		Status: corev1.PodStatus{
			Phase:      corev1.PodRunning,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
}

func takenPod() *corev1.Pod {
	return sidecarPod("shop-new", map[string]string{"app": "shop", "to.mtls.egress/external.system.com": "true"})
}

func handPod() *corev1.Pod { return sidecarPod("shop-old", map[string]string{"app": "shop"}) }

func TestSidecarsProveWhereCallsGo(t *testing.T) {
	otherCertificate := ourSidecar()
	otherCertificate.certificate = "file-cert:/etc/by-hand/cert~/etc/by-hand/key"
	noCertificate := handSidecar()
	noCertificate.certificate = ""
	both := ourSidecar()
	both.clusters = append(both.clusters, handSidecar().clusters...)
	unproxied := handPod()
	unproxied.Spec.Containers = nil
	for name, test := range map[string]struct {
		pod     *corev1.Pod
		sidecar stubSidecar
		want    string
	}{
		"a Pod of the target": {pod: takenPod(), sidecar: ourSidecar()},
		"a Pod before it":     {pod: handPod(), sidecar: handSidecar()},
		"a Pod of the target that still has the old route": {
			pod: takenPod(), sidecar: handSidecar(),
			want: "the sidecar of the Pod shop-new leads calls to outbound|443||external.system.com",
		},
		"a Pod of the target with both routes": {
			pod: takenPod(), sidecar: both,
			want: "the sidecar of the Pod shop-new leads calls to " +
				"outbound|443|mtls-egress|external.system.com.mtls-egress.internal and outbound|443||external.system.com",
		},
		"a Pod without a route": {
			pod: handPod(), sidecar: stubSidecar{}, want: "the sidecar of the Pod shop-old leads calls to no cluster",
		},
		"a Pod of the target with the old certificate": {
			pod: takenPod(), sidecar: otherCertificate,
			want: `the sidecar of the Pod shop-new presents "file-cert:/etc/by-hand/cert~/etc/by-hand/key" to ` +
				"outbound|443|mtls-egress|external.system.com.mtls-egress.internal",
		},
		"a Pod without a certificate": {
			pod: handPod(), sidecar: noCertificate,
			want: `the sidecar of the Pod shop-old presents "" to outbound|443||external.system.com`,
		},
		"a Pod without a sidecar": {pod: unproxied, want: "the Pod shop-old has no sidecar"},
		"a sidecar that can't be asked": {
			pod: handPod(), sidecar: stubSidecar{err: errors.New("forbidden")}, want: "forbidden",
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := adoptionOf(t, test.sidecar, test.pod)
			wants(t, a.proveCalls(t.Context(), a.selectors), test.want)
		})
	}
}

func TestTheConditionsOfTheTargetAreTheProof(t *testing.T) {
	condition := func(kind, status, reason, message string) metav1.Condition {
		return metav1.Condition{
			Type: kind, Status: metav1.ConditionStatus(status), Reason: reason, Message: message,
			LastTransitionTime: metav1.Now(),
		}
	}
	valid := condition("CredentialValid", "True", "Valid", "it is")
	closing := condition("Programmed", "False", "PlaintextPossible",
		"the target is closed, because of the VirtualService shop/by-hand; see the condition Conflicted")
	for name, test := range map[string]struct {
		conditions []metav1.Condition
		generation int64
		closed     bool
		want       string
	}{
		"open":   {conditions: []metav1.Condition{valid, condition("Programmed", "True", "Programmed", "in sync")}},
		"closed": {conditions: []metav1.Condition{valid, closing}, closed: true},
		"closed, and wanted open": {
			conditions: []metav1.Condition{valid, closing},
			want:       "the condition Programmed is False (PlaintextPossible): " + closing.Message,
		},
		"closed for another reason": {
			conditions: []metav1.Condition{valid, condition("Programmed", "False", "NotAllowed", "no")}, closed: true,
			want: "the condition Programmed is False (NotAllowed): no",
		},
		"closed by two objects": {
			conditions: []metav1.Condition{valid, condition("Programmed", "False", "PlaintextPossible",
				"because of the VirtualService shop/a, the VirtualService shop/b; see")}, closed: true,
			want: "the condition Programmed is False (PlaintextPossible): because of the VirtualService shop/a, the " +
				"VirtualService shop/b; see",
		},
		"no usable credential": {
			conditions: []metav1.Condition{condition("CredentialValid", "False", "SecretMissing", "there is no Secret")},
			want:       "the condition CredentialValid is False (SecretMissing): there is no Secret",
		},
		"not looked at":     {generation: 2, want: "the controller hasn't seen the EgressTarget"},
		"without condition": {want: "the condition CredentialValid is missing"},
		"not programmed":    {conditions: []metav1.Condition{valid}, want: "the condition Programmed is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			target := &v1alpha1.EgressTarget{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: adoptedHost, Generation: test.generation},
			}
			target.Status.Conditions = test.conditions
			wants(t, adoptionOf(t, ourSidecar(), target).proveTarget(t.Context(), test.closed), test.want)
		})
	}
}

func TestAWorkloadIsReplacedWhenAllItsPodsAre(t *testing.T) {
	deployment := func(updated, replicas int64) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment",
			"metadata": map[string]any{"name": "shop", "namespace": "shop", "generation": int64(2)},
			"spec":     map[string]any{"replicas": int64(1)},
			"status": map[string]any{
				"observedGeneration": int64(2), "updatedReplicas": updated, "readyReplicas": int64(1), "replicas": replicas,
			},
		}}
	}
	unseen := deployment(1, 1)
	unseen.SetGeneration(3)
	unready := takenPod()
	unready.Status.Conditions = nil
	for name, test := range map[string]struct {
		workload *unstructured.Unstructured
		pods     []client.Object
		want     string
	}{
		"all new": {workload: deployment(1, 1), pods: []client.Object{takenPod()}},
		"an old one": {
			workload: deployment(1, 1), pods: []client.Object{takenPod(), handPod()},
			want: "the Pod shop-old is not replaced",
		},
		"not ready":     {workload: deployment(1, 1), pods: []client.Object{unready}, want: "the Pod shop-new is not ready"},
		"none new":      {workload: deployment(0, 1), want: "new Pods: 0 of 1; ready Pods: 1"},
		"a surplus one": {workload: deployment(1, 2), want: "new Pods: 1 of 1; ready Pods: 1"},
		"not observed":  {workload: unseen, want: "the change of the workload isn't observed yet"},
	} {
		t.Run(name, func(t *testing.T) {
			a := adoptionOf(t, ourSidecar(), append(test.pods, test.workload)...)
			wants(t, a.prove(t.Context(), adopt.Action{
				Proof: adopt.Taken, Object: test.workload.Object, Pods: map[string]string{"app": "shop"},
			}), test.want)
		})
	}
}

func TestFailedCallsStopAnAdoption(t *testing.T) {
	sidecar := handSidecar()
	sidecar.calls = SidecarCalls{Total: 100, Failed: 3}
	a := adoptionOf(t, sidecar, handPod())
	if err := a.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	wants(t, a.checkCalls(t.Context()), "") // they failed before
	sidecar.calls.Failed = 5
	a.sidecar = func(*corev1.Pod) Sidecar { return sidecar }
	wants(t, a.checkCalls(t.Context()), "2 calls of the Pod shop-old to external.system.com failed")
}

func TestPodsOfOtherWorkloadsThatCallStopAnAdoption(t *testing.T) {
	sidecar := handSidecar()
	other := sidecarPod("billing", map[string]string{"app": "billing"})
	wants(t, adoptionOf(t, sidecar, handPod(), other).checkOthers(t.Context()), "")
	sidecar.calls.Total = 7
	wants(t, adoptionOf(t, sidecar, handPod(), takenPod()).checkOthers(t.Context()), "")
	wants(t, adoptionOf(t, sidecar, handPod(), other).checkOthers(t.Context()),
		"the Pod billing has called external.system.com 7 times by the hand-written objects, and is not among those that "+
			"are taken over; annotate its workload with mtls.egress/target: external.system.com first, or wait until the "+
			"Pod ends")
}

func TestATemplateWithoutLabelsSelectsNoPod(t *testing.T) {
	sidecar := handSidecar()
	sidecar.calls.Total = 7
	a := adoptionOf(t, sidecar, handPod())
	a.selectors = []map[string]string{{}}
	wants(t, a.proveCalls(t.Context(), a.selectors), "")
	wants(t, a.Do(t.Context(), adopt.Action{Verb: adopt.Delete, Object: map[string]any{"kind": "ServiceEntry"}}),
		"the Pod shop-old has called external.system.com 7 times by the hand-written objects, and is not among those that "+
			"are taken over; annotate its workload with mtls.egress/target: external.system.com first, or wait until the "+
			"Pod ends")
}

func TestAnObjectThatChangedIsNotDeleted(t *testing.T) {
	entry := func(host string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
			"metadata": map[string]any{"name": "partner", "namespace": "shop"},
			"spec":     map[string]any{"hosts": []any{host}},
		}}
	}
	a := adoptionOf(t, handSidecar(), entry("changed.example.com"))
	wants(t, a.change(t.Context(), adopt.Action{Verb: adopt.Delete, Object: entry(adoptedHost).Object}),
		"the ServiceEntry partner changed meanwhile; run the command again")
	wants(t, a.change(t.Context(), adopt.Action{Verb: adopt.Delete, Object: entry("changed.example.com").Object}), "")
	if _, err := a.live(t.Context(), entry("").Object); err == nil {
		t.Error("it was not deleted")
	}
}

func TestARecordIsNotOverwritten(t *testing.T) {
	record := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "adopted", "namespace": "shop"},
	}}
	a := adoptionOf(t, handSidecar(), record.DeepCopy())
	wants(t, a.change(t.Context(), adopt.Action{Verb: adopt.Record, Object: record.Object}),
		"the ConfigMap adopted exists, so the host is taken over already, or a run didn't end; go back with --back, or "+
			"delete it")
}

// wants compares the message of an error, which is "" for nil.
func wants(t *testing.T, err error, want string) {
	t.Helper()
	message := ""
	if err != nil {
		message = err.Error()
	}
	if message != want {
		t.Errorf("got  %s\nwant %s", message, want)
	}
}
