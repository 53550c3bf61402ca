package admission_test

import (
	"context"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/test/await"
)

// stopWebhook stops it until the end of the test.
func (w *world) stopWebhook() {
	w.Helper()
	if err := installed.StopWebhook(); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := installed.StartWebhook(context.WithoutCancel(w.Context())); err != nil {
			w.Error(err)
		}
	})
}

func TestAStoppedWebhookStopsAnnotatedObjectsOnly(t *testing.T) {
	w := newWorld(t)
	deployment := kinds()[0]
	w.kubectlWith(deployment.manifest("mtls.egress/target="+host), "apply", "--filename=-")
	w.create(annotated("before"))
	w.stopWebhook()

	w.create(plain("plain"))
	for _, kind := range kinds() {
		named := strings.ReplaceAll(kind.manifest(), `"name":"shop"`, `"name":"other"`)
		w.kubectlWith(named, "apply", "--filename=-")
		w.kubectl("annotate", kind.resource+"/other", "note=mine")
		w.kubectl("delete", kind.resource+"/other")
	}
	// What runs is still scaled, reports its status, and can be taken away.
	w.kubectl("scale", "deployment/shop", "--replicas=3")
	w.kubectl("patch", "deployment/shop", "--subresource=status", "--type=merge",
		`--patch={"status":{"observedGeneration":1}}`)
	pod := &corev1.Pod{}
	w.read(pod, "before")
	w.remove(pod)

	for what, webhook := range map[string]string{"a Pod": "pods.mtls.egress", "a Deployment": "workloads.mtls.egress"} {
		var object client.Object = annotated("refused")
		if what == "a Deployment" {
			object = annotatedDeployment("refused")
		}
		object.SetNamespace(w.namespace)
		err := w.Create(t.Context(), object)
		if !apierrors.IsInternalError(err) {
			t.Fatalf("%s: error %v, want an internal error", what, err)
		}
		for _, part := range []string{`failed calling webhook "` + webhook + `"`, "connect: connection refused"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error %q does not say %q", what, err, part)
			}
		}
		if err := w.Get(t.Context(), client.ObjectKeyFromObject(object), object); !apierrors.IsNotFound(err) {
			t.Errorf("%s was written: %v", what, err)
		}
	}
	w.kubectl("delete", "deployment/shop")
}

func TestWithFailurePolicyIgnoreThePolicyRefusesAnUninjectedPod(t *testing.T) {
	w := newWorld(t)
	if err := installed.Upgrade(t.Context(), "webhook.failurePolicy=Ignore"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := installed.Upgrade(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	w.stopWebhook()

	const want = `pods "refused" is forbidden: ValidatingAdmissionPolicy 'mtls-egress-webhook-injected' with binding ` +
		`'mtls-egress-webhook-injected' denied request: the Pod asks for mutual TLS (annotation mtls.egress/target), but ` +
		`it was not injected for external.system.com, so its calls could leave in plain text. Either the webhook ` +
		`0-mtls-egress-webhook was not called, because it was down while its failurePolicy is Ignore or because it does ` +
		`not serve the namespace NAMESPACE, or something changed the Pod after the webhook. Create the Pod again when the ` +
		`webhook runs and serves the namespace; remove the annotation if the Pod needs no mutual TLS`
	var err error
	await.Eventually(w, "the API server knows the other failurePolicy", func() error {
		pod := annotated("refused")
		pod.Namespace = w.namespace
		if err = w.Create(t.Context(), pod); apierrors.IsInternalError(err) {
			return err
		}
		return nil
	})
	if err == nil || err.Error() != strings.ReplaceAll(want, "NAMESPACE", w.namespace) {
		t.Errorf("error %q, want %q", err, strings.ReplaceAll(want, "NAMESPACE", w.namespace))
	}
	if err := w.Get(t.Context(), key(w, "refused"), &corev1.Pod{}); !apierrors.IsNotFound(err) {
		t.Errorf("the Pod was written: %v", err)
	}
	w.create(plain("plain"))

	deployment := annotatedDeployment("shop")
	deployment.Namespace = w.namespace
	err = w.Create(t.Context(), deployment)
	if err == nil ||
		!strings.Contains(
			err.Error(),
			"denied request: Deployment shop asks for mutual TLS (annotation mtls.egress/target), but the annotation was not "+
				"propagated to its Pod template, so its Pods would call in plain text.",
		) {
		t.Errorf("error %v, want a refusal of the Deployment whose annotation nobody propagated", err)
	}
}

func annotatedDeployment(name string) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metaOf(name, "mtls.egress/target", host),
		Spec: appsv1.DeploymentSpec{
			Selector: selectorOf(name),
			Template: corev1.PodTemplateSpec{ObjectMeta: labelsOf(name), Spec: plain("").Spec},
		},
	}
}
