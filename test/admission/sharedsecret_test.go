package admission_test

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/test/await"
)

// TestTwoHostsDoNotShareACredentialSilently: the second host of a namespace whose default Secret is
// that of the first is refused, for Pods and for workloads, until one of them names its Secret. The
// first keeps starting.
func TestTwoHostsDoNotShareACredentialSilently(t *testing.T) {
	const first, second = "api.bank.com", "api.bank.de"
	w := newWorld(t)
	asks := func(target, secret string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Annotations["mtls.egress/target"] = target
			if secret != "" {
				pod.Annotations["mtls.egress/secret"] = secret
			}
		}
	}
	attempt := func(name, target, secret string) error {
		pod := annotated(name, asks(target, secret))
		pod.Namespace = w.namespace
		return w.Create(t.Context(), pod)
	}
	// The webhook's cache may not know the EgressTarget yet.
	refused := func() error {
		err := attempt("second", second, "")
		if err == nil {
			w.remove(annotated("second", func(pod *corev1.Pod) { pod.Namespace = w.namespace }))
			return errors.New("admitted")
		}
		if want := second + " defaults to the Secret api-bank-mtls-data, which is already the " +
			"default Secret of " + first + " in this namespace"; !strings.Contains(err.Error(), want) {
			return err
		}
		return nil
	}

	w.create(annotated("first", asks(first, "")))
	await.Eventually(w, "the controller made the EgressTarget of the first host", func() error {
		return w.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: first}, &v1alpha1.EgressTarget{})
	})
	await.Eventually(w, "a Pod of the second host is refused", refused)
	if _, err := installed.KubectlWith(
		t.Context(), kinds()[0].manifest("mtls.egress/target="+second), "apply", "--filename=-", "--namespace", w.namespace,
	); err == nil {
		t.Error("a Deployment of the second host is admitted")
	}
	if err := attempt("first-again", first, ""); err != nil {
		t.Errorf("the first host: %v", err)
	}
	if err := attempt("second-named", second, "bank-de"); err != nil {
		t.Errorf("the second host with a Secret of its own: %v", err)
	}
}
