package chart

import (
	"context"
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/test/await"
)

// TestAdmission installs the chart with a stub in place of the webhook and exercises every
// expression in it.
func TestAdmission(t *testing.T) {
	c := startCluster(t)
	c.istio(t)
	c.gatewayAPI(t)
	olderPods(t, c)
	webhook := startStub(t)
	c.upgrade(t, webhook, "--install", "--create-namespace")
	c.kubectl(t, "wait", "--for=condition=Established", "--timeout="+await.Patience.String(),
		"crd/egresstargets.mtls.egress")
	c.trust(t, webhook.bundle())
	c.waitForAdmission(t, webhook)

	t.Run("EgressTargets are validated", func(t *testing.T) { testEgressTargets(t, c) })
	t.Run("the examples for Artifact Hub are EgressTargets", func(t *testing.T) {
		var examples []map[string]any
		annotation(t, "artifacthub.io/crdsExamples", &examples)
		for _, content := range examples {
			example := &unstructured.Unstructured{Object: content}
			example.SetNamespace("default")
			if err := c.Create(t.Context(), example, client.DryRunAll,
				client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
				t.Error(err)
			}
		}
		if len(examples) == 0 {
			t.Error("there are none")
		}
	})
	t.Run("the webhook sees what asks for something, and nothing else", func(t *testing.T) { testCalls(t, c, webhook) })
	t.Run("a Pod that asks for a target is injected or refused", func(t *testing.T) { testInjected(t, c) })
	t.Run("a Pod that the validations don't see is one that they admit", func(t *testing.T) { testUsual(t, c) })
	t.Run("a Pod that runs is not asked for a target later", func(t *testing.T) { testInjectedLater(t, c) })
	t.Run("a workload that asks for a target is propagated or refused", func(t *testing.T) { testPropagated(t, c) })
	t.Run("the policies read only fields that there are", func(t *testing.T) { testTypes(t, c) })
	t.Run("generated objects are the controller's", func(t *testing.T) { testGeneratedObjects(t, c) })
	t.Run("the domain and the owners of generated objects are the controller's", func(t *testing.T) { testReserved(t, c) })
	t.Run("nothing is attached to generated objects", func(t *testing.T) { testAttached(t, c) })
	t.Run("nothing takes an address of the sinkhole", func(t *testing.T) { testSinkhole(t, c) })
	t.Run("an issuer is asked for a certificate by those who may create Certificates",
		func(t *testing.T) { testIssuance(t, c) })
	t.Run("each ServiceAccount has the rights that it needs, and no others", func(t *testing.T) { testAccounts(t, c) })
	t.Run("a stopped webhook stops what asks for something, and nothing else",
		func(t *testing.T) { testStopped(t, c, webhook) })
}

// upgrade installs or upgrades the release with the stub as its webhook, and with the namespaces of
// exemptNamespace.
func (c cluster) upgrade(t *testing.T, webhook *stub, args ...string) {
	t.Helper()
	var exempt []string
	for number := range exemptNamespaces {
		for _, test := range []string{"attached", "generated", "reserved", "sinkhole"} {
			exempt = append(exempt, exemptNamespace(test, number))
		}
	}
	c.helm(t, append([]string{
		"upgrade", release, chartDir, "--namespace", namespace, "--set",
		"webhook.deployment.enabled=false,controller.deployment.enabled=false,webhook.url=" + webhook.URL,
		"--set", "policy.exemptNamespaces={" + strings.Join(exempt, ",") + "}",
	}, args...)...)
}

// exemptNamespaces is how many namespaces of each test are in the chart's value
// policy.exemptNamespaces.
const exemptNamespaces = 20

// exemptNamespace is the name of one of them. They are not made yet.
func exemptNamespace(test string, number int) string {
	return fmt.Sprintf("%s-exempt-%d", test, number)
}

// waitForAdmission waits until the API server, which learns of policies and configurations through
// watches, obeys all of them.
func (c cluster) waitForAdmission(t *testing.T, webhook *stub) {
	t.Helper()
	c.namespace(t, "probe", nil)
	pod := newPod("probe", "asks", map[string]string{"mtls.egress/target": "external.system.com"})
	await.True(t, "the policy on Pods refuses", func(ctx context.Context) bool {
		return denied(c.Create(ctx, pod.DeepCopy(), client.DryRunAll), "mtls-egress-webhook-injected")
	})
	deployment := newWorkload("Deployment", "probe", "asks")
	deployment.SetAnnotations(map[string]string{"mtls.egress/target": "external.system.com"})
	await.True(t, "both webhooks are called, and the policy on workloads refuses", func(ctx context.Context) bool {
		webhook.take()
		podErr := c.Create(ctx, pod.DeepCopy(), client.DryRunAll)
		deploymentErr := c.Create(ctx, deployment.DeepCopy(), client.DryRunAll)
		return denied(podErr, "mtls-egress-webhook-injected") && denied(deploymentErr, "mtls-egress-webhook-propagated") &&
			len(webhook.take()) == 2
	})
	object := generated("probe", "ServiceEntry")
	if err := c.as(t, controllerUser).Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	await.True(t, "the policy on generated objects refuses", func(ctx context.Context) bool {
		return denied(c.Delete(ctx, object, client.DryRunAll), "mtls-egress-webhook-generated-objects")
	})
	service := claiming("probe", "Service", "spec", "externalIPs", []any{"241.0.0.1"})
	await.True(t, "the policy on addresses refuses", func(ctx context.Context) bool {
		return denied(c.Create(ctx, service.DeepCopy(), client.DryRunAll), "mtls-egress-webhook-sinkhole")
	})
}

// testStopped comes last: it stops the webhook.
func testStopped(t *testing.T, c cluster, webhook *stub) {
	c.namespace(t, "stopped", nil)
	asks := map[string]string{"mtls.egress/target": "external.system.com"}
	controlled := newWorkload("ReplicaSet", "stopped", "controlled")
	controlled.SetAnnotations(asks)
	controlled.SetOwnerReferences(controlledBy("apps/v1", "Deployment"))
	if err := c.Create(t.Context(), controlled); err != nil {
		t.Fatal(err)
	}
	propagated := newWorkload("Deployment", "stopped", "propagated")
	propagated.SetAnnotations(asks)
	annotateTemplate(t, propagated, "mtls.egress/target", "external.system.com")
	if err := c.Create(t.Context(), propagated); err != nil {
		t.Fatal(err)
	}
	webhook.Close()

	if err := c.Create(t.Context(), newPod("stopped", "plain", nil)); err != nil {
		t.Errorf("a plain Pod: %v", err)
	}
	if err := c.Create(t.Context(), newWorkload("Deployment", "stopped", "plain")); err != nil {
		t.Errorf("a plain Deployment: %v", err)
	}
	set(t, controlled, int64(0), "spec", "replicas")
	if err := c.Update(t.Context(), controlled); err != nil {
		t.Errorf("scaling the ReplicaSet of a Deployment: %v", err)
	}
	injected := injectedPod("stopped", "asks")
	if err := c.Create(t.Context(), injected.DeepCopy()); !failed(err, "pods.mtls.egress") {
		t.Errorf("a Pod that asks: %v", err)
	}
	deployment := newWorkload("Deployment", "stopped", "asks")
	deployment.SetAnnotations(asks)
	if err := c.Create(t.Context(), deployment); !failed(err, "workloads.mtls.egress") {
		t.Errorf("a Deployment that asks: %v", err)
	}

	c.upgrade(t, webhook, "--set", "webhook.failurePolicy=Ignore")
	for _, webhook := range c.configuration(t).Webhooks {
		if *webhook.FailurePolicy != admissionregistrationv1.Ignore {
			t.Errorf("failurePolicy %s", *webhook.FailurePolicy)
		}
	}
	await.True(t, "the API server ignores that the webhook fails", func(ctx context.Context) bool {
		return c.Create(ctx, injected.DeepCopy(), client.DryRunAll) == nil
	})
	if err := c.Create(t.Context(), newPod("stopped", "asks", asks)); !denied(err, "mtls-egress-webhook-injected") {
		t.Errorf("a Pod that asks and was let through not injected: %v", err)
	}
	if err := c.Create(t.Context(), deployment); !denied(err, "mtls-egress-webhook-propagated") {
		t.Errorf("a Deployment that asks and was let through unpropagated: %v", err)
	}
	set(t, propagated, int64(0), "spec", "replicas")
	if err := c.Update(t.Context(), propagated); err != nil {
		t.Errorf("a change of a Deployment that was propagated: %v", err)
	}
	unannotateTemplate(propagated)
	if err := c.Update(t.Context(), propagated); !denied(err, "mtls-egress-webhook-propagated") {
		t.Errorf("a manifest without what was propagated: %v", err)
	}
}
