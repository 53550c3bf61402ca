package controller

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/policy"
)

// allow writes the annotation of the test's Namespace; nil removes it.
func (w *world) allow(targets any) {
	w.Helper()
	namespace := &corev1.Namespace{}
	if err := w.Get(w.Context(), types.NamespacedName{Name: w.namespace}, namespace); err != nil {
		w.Fatal(err)
	}
	w.patch(namespace,
		map[string]any{"metadata": map[string]any{"annotations": map[string]any{egress.AnnotationAllowedTargets: targets}}})
}

// notAllowed waits until the target is closed for the reason that holds for as long as the host
// isn't allowed.
func (w *world) notAllowed(because string) {
	w.Helper()
	egressTarget := w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, "NotAllowed")
	if message := meta.FindStatusCondition(egressTarget.Status.Conditions,
		v1alpha1.ConditionProgrammed).Message; !strings.Contains(message, because) {
		w.Errorf("the message is %q, want %q in it", message, because)
	}
	w.programmed(w.closedSpecs(standardLayout()))
}

// TestATargetThatIsNotAllowedAnyMoreIsClosed: its Pods run since before a list became shorter.
func TestATargetThatIsNotAllowedAnyMoreIsClosed(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	w.start(controller.Options{})
	w.pod("app", host)
	w.ready()
	w.programmed(w.defaultSpecs())

	w.allow("api.bank.example")
	w.notAllowed(
		"neither the Namespace's annotation mtls.egress/allowed-targets nor policy.allowedTargets in the chart's values " +
			"has an entry that matches it",
	)
	egressTarget, err := w.egressTarget()
	if err != nil {
		t.Fatal(err)
	}
	w.told(egressTarget, "Warning NotAllowed")

	w.allow("api.bank.example, *.system.com")
	w.ready()
	w.programmed(w.defaultSpecs())

	w.allow("*.system.com, bank")
	w.notAllowed("the Namespace's annotation is invalid, so it allows nothing")

	w.allow(nil)
	w.ready()
	w.programmed(w.defaultSpecs())
}

func TestANamespaceMayReachMoreThanTheClusterAllows(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	w.start(controller.Options{Policy: &policy.Cluster{Other: policy.OtherDeny}})
	w.pod("app", host)
	w.notAllowed("no entry of policy.allowedTargets in the chart's values matches it, and policy.otherTargets is Deny")
	w.allow(host)
	w.ready()
	w.programmed(w.defaultSpecs())
}

func TestWhatTheClusterAllowsNoNamespaceForbids(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	allowed, problems := policy.ParsePatterns([]string{"**.system.com"}, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w.allow("")
	w.start(controller.Options{Policy: &policy.Cluster{Allowed: allowed, Other: policy.OtherDeny}})
	w.pod("app", host)
	w.ready()
}

func TestNoHandshakeIsMadeWithWhatIsNotAllowed(t *testing.T) {
	w, p := newWorld(t), newPartner(t)
	data, _ := p.secretData(t, p.clientCA, "orders")
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret}, Data: data})
	w.allow("")
	w.verifiedTarget(p)
	w.start(verifying(t, controller.VerifyMarked))
	w.settled(v1alpha1.ConditionVerified, metav1.ConditionUnknown, "NotAllowed")
	w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, "NotAllowed")
	if clients, refused, _ := p.saw(); len(clients)+refused > 0 {
		t.Errorf("the partner saw %d handshakes, want none", len(clients)+refused)
	}
	w.allow(host)
	w.settled(v1alpha1.ConditionVerified, metav1.ConditionTrue, "Verified")
}
