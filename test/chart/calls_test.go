package chart

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/await"
)

func testCalls(t *testing.T, c cluster, webhook *stub) {
	c.namespace(t, "calls", nil)
	do := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	wantCalls := func(t *testing.T, step string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, webhook.take()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step, diff)
		}
	}
	// If the API server's cache lacks the update before this one, it calls the webhook twice: wait for
	// the cache.
	// https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list
	settle := func(t *testing.T, object client.Object) {
		t.Helper()
		do(t, c.Get(t.Context(), client.ObjectKeyFromObject(object), object,
			&client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: object.GetResourceVersion()}}))
	}
	// The stub propagates nothing, and what isn't propagated is refused.
	c.upgrade(t, webhook, "--set", "policy.requirePropagated=false")
	asking := newWorkload("Deployment", "calls", "asks")
	asking.SetAnnotations(map[string]string{"mtls.egress/target": "external.system.com"})
	await.True(t, "nothing has to be propagated", func(ctx context.Context) bool {
		return c.Create(ctx, asking.DeepCopy(), client.DryRunAll) == nil
	})
	webhook.take()

	t.Run("of 110 Pods the ten that ask", func(t *testing.T) {
		var want []string
		for i := range 110 {
			pod := newPod("calls", fmt.Sprintf("pod-%03d", i), map[string]string{"example.com/mtls.egress": "target"})
			if i%11 == 0 {
				pod = injectedPod("calls", pod.Name)
				want = append(want, "CREATE Pod "+pod.Name)
			}
			do(t, c.Create(t.Context(), pod))
		}
		wantCalls(t, "110 Pods", want...)
	})

	t.Run("any annotation under our prefix, so that a misspelled one is warned of", func(t *testing.T) {
		do(t, c.Create(t.Context(),
			newPod("calls", "misspelled", map[string]string{"mtls.egress/targets": "external.system.com"}), client.DryRunAll))
		wantCalls(t, "Pod", "CREATE Pod misspelled")
	})

	t.Run("a change of a Pod comes too late for anything", func(t *testing.T) {
		pod := injectedPod("calls", "changed")
		do(t, c.Create(t.Context(), pod))
		wantCalls(t, "create", "CREATE Pod changed")
		settle(t, pod)
		pod.Annotations["example.com/a"] = "b"
		do(t, c.Update(t.Context(), pod))
		wantCalls(t, "update")
	})

	for _, kind := range []string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"} {
		t.Run(kind, func(t *testing.T) {
			workload := newWorkload(kind, "calls", "workload")
			annotate := func(annotations map[string]string) {
				t.Helper()
				settle(t, workload)
				workload.SetAnnotations(annotations)
				do(t, c.Update(t.Context(), workload))
			}
			do(t, c.Create(t.Context(), workload))
			annotate(map[string]string{"example.com/a": "b"})
			wantCalls(t, "created and changed without an annotation of ours")
			annotate(map[string]string{"mtls.egress/target": "external.system.com"})
			wantCalls(t, "the annotation comes", "UPDATE "+kind+" workload")
			annotate(map[string]string{"mtls.egress/target": "external.system.com", "example.com/a": "c"})
			wantCalls(t, "something else changes", "UPDATE "+kind+" workload")
			annotate(nil)
			wantCalls(t, "the annotation goes", "UPDATE "+kind+" workload")
			annotate(map[string]string{"example.com/a": "d"})
			wantCalls(t, "something else changes, the annotation is gone")
			do(t, c.Delete(t.Context(), workload))
			wantCalls(t, "deleted")

			inMetadata := newWorkload(kind, "calls", "metadata")
			inMetadata.SetAnnotations(map[string]string{"mtls.egress/target": "external.system.com"})
			do(t, c.Create(t.Context(), inMetadata))
			wantCalls(t, "asks in its metadata", "CREATE "+kind+" metadata")
			inTemplate := newWorkload(kind, "calls", "template")
			annotateTemplate(t, inTemplate, "mtls.egress/target", "external.system.com")
			do(t, c.Create(t.Context(), inTemplate))
			wantCalls(t, "asks in its Pod template", "CREATE "+kind+" template")
			if kind == "Job" { // its template can't change
				return
			}
			settle(t, inTemplate)
			unannotateTemplate(inTemplate)
			do(t, c.Update(t.Context(), inTemplate))
			wantCalls(t, "the annotation of the template goes", "UPDATE "+kind+" template")
		})
	}

	owned := 0
	for name, test := range map[string]struct {
		kind   string
		owners []metav1.OwnerReference
		called bool
	}{
		"the ReplicaSet of a Deployment": {kind: "ReplicaSet", owners: controlledBy("apps/v1", "Deployment")},
		"the Job of a CronJob":           {kind: "Job", owners: controlledBy("batch/v1", "CronJob"), called: true},
		"the ReplicaSet of a Deployment, which others own too": {
			kind: "ReplicaSet", owners: append(ownedBy("example.com/v1", "App"), controlledBy("apps/v1", "Deployment")...),
		},
		"the Deployment of an operator": {
			kind:   "Deployment",
			owners: controlledBy("example.com/v1", "App"),
			called: true,
		},
		"the StatefulSet of an operator": {
			kind:   "StatefulSet",
			owners: controlledBy("example.com/v1", "Database"),
			called: true,
		},
		"the DaemonSet of an operator": {
			kind:   "DaemonSet",
			owners: controlledBy("example.com/v1", "Agent"),
			called: true,
		},
		"the CronJob of an operator": {
			kind:   "CronJob",
			owners: controlledBy("example.com/v1", "App"),
			called: true,
		},
		"the Job of an operator": {
			kind:   "Job",
			owners: controlledBy("example.com/v1", "Workflow"),
			called: true,
		},
		"the ReplicaSet of an operator": {
			kind:   "ReplicaSet",
			owners: controlledBy("example.com/v1", "Rollout"),
			called: true,
		},
		"the ReplicaSet of a Deployment of another group": {
			kind:   "ReplicaSet",
			owners: controlledBy("apps.example.com/v1", "Deployment"),
			called: true,
		},
		"the Job of a CronJob of another group": {
			kind:   "Job",
			owners: controlledBy("batch.example.com/v1", "CronJob"),
			called: true,
		},
		"the Job of a Deployment": {
			kind:   "Job",
			owners: controlledBy("apps/v1", "Deployment"),
			called: true,
		},
		"the ReplicaSet of a CronJob": {
			kind:   "ReplicaSet",
			owners: controlledBy("batch/v1", "CronJob"),
			called: true,
		},
		"a Deployment of a Deployment": {
			kind:   "Deployment",
			owners: controlledBy("apps/v1", "Deployment"),
			called: true,
		},
		"a ReplicaSet whose Deployment doesn't control it": {
			kind:   "ReplicaSet",
			owners: ownedBy("apps/v1", "Deployment"),
			called: true,
		},
		"a Job whose CronJob doesn't control it": {
			kind:   "Job",
			owners: ownedBy("batch/v1", "CronJob"),
			called: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			owned++
			object := fmt.Sprintf("owned-%d", owned)
			workload := newWorkload(test.kind, "calls", object)
			workload.SetAnnotations(map[string]string{"mtls.egress/target": "external.system.com"})
			workload.SetOwnerReferences(test.owners)
			do(t, c.Create(t.Context(), workload))
			settle(t, workload)
			workload.SetLabels(map[string]string{"a": "b"})
			do(t, c.Update(t.Context(), workload))
			var want []string
			if test.called {
				want = []string{"CREATE " + test.kind + " " + object, "UPDATE " + test.kind + " " + object}
			}
			wantCalls(t, "created and changed", want...)
		})
	}

	t.Run("subresources", func(t *testing.T) {
		workload := newWorkload("Deployment", "calls", "subresources")
		workload.SetAnnotations(map[string]string{"mtls.egress/target": "external.system.com"})
		do(t, c.Create(t.Context(), workload))
		wantCalls(t, "create", "CREATE Deployment subresources")
		c.kubectl(t, "scale", "deployment", "subresources", "--namespace", "calls", "--replicas=3")
		do(t, c.Get(t.Context(), client.ObjectKeyFromObject(workload), workload))
		set(t, workload, int64(1), "status", "observedGeneration")
		do(t, c.Status().Update(t.Context(), workload))
		wantCalls(t, "scale and status")
	})

	t.Run("the last changes of what is being deleted", func(t *testing.T) {
		workload := newWorkload("Deployment", "calls", "deleted")
		workload.SetAnnotations(map[string]string{"mtls.egress/target": "external.system.com"})
		workload.SetFinalizers([]string{"example.com/finalizer"})
		do(t, c.Create(t.Context(), workload))
		wantCalls(t, "create", "CREATE Deployment deleted")
		do(t, c.Delete(t.Context(), workload))
		do(t, c.Get(t.Context(), client.ObjectKeyFromObject(workload), workload))
		workload.SetFinalizers(nil)
		do(t, c.Update(t.Context(), workload))
		wantCalls(t, "delete and finalize")
	})

	t.Run("namespaces that are left out", func(t *testing.T) {
		for _, left := range []string{namespace, "kube-system", "kube-node-lease"} {
			pod := injectedPod(left, "asks")
			do(t, c.Create(t.Context(), pod, client.DryRunAll))
			workload := newWorkload("Deployment", left, "asks")
			workload.SetAnnotations(pod.Annotations)
			do(t, c.Create(t.Context(), workload, client.DryRunAll))
		}
		wantCalls(t, "release namespace, kube-system and kube-node-lease")
	})

	// An expression that costs too much is an error, and an error refuses.
	t.Run("more annotations than the expressions can look at", func(t *testing.T) {
		annotations := map[string]string{}
		for i := range 1000 {
			annotations[strconv.Itoa(i)] = ""
		}
		workload := newWorkload("Deployment", "calls", "thousand")
		workload.SetAnnotations(annotations)
		for key := range annotations {
			annotateTemplate(t, workload, key, "")
		}
		do(t, c.Create(t.Context(), workload))
		settle(t, workload)
		workload.SetLabels(map[string]string{"a": "b"})
		do(t, c.Update(t.Context(), workload))
		do(t, c.Create(t.Context(), newPod("calls", "thousand", annotations)))
		wantCalls(t, "a thousand")

		for i := range 30000 {
			annotations[strconv.Itoa(i)] = ""
		}
		do(t, c.Create(t.Context(), newPod("calls", "many", annotations)))
		workload = newWorkload("Deployment", "calls", "many")
		workload.SetAnnotations(annotations)
		do(t, c.Create(t.Context(), workload))
		wantCalls(t, "thirty thousand", "CREATE Deployment many", "CREATE Pod many")
	})

	t.Run("a user's selector", func(t *testing.T) {
		c.namespace(t, "chosen", map[string]string{"mesh": "on"})
		called := func(ctx context.Context, in string) bool {
			webhook.take()
			return c.Create(ctx, injectedPod(in, "asks"), client.DryRunAll) == nil &&
				slices.Equal(webhook.take(), []string{"CREATE Pod asks"})
		}
		c.upgrade(t, webhook, "--set-json", `webhook.namespaceSelector={"matchLabels": {"mesh": "on"}}`)
		await.True(
			t,
			"a namespace without the label is left out",
			func(ctx context.Context) bool { return !called(ctx, "calls") },
		)
		if !called(t.Context(), "chosen") {
			t.Error("not called for the namespace that was chosen")
		}
		if err := c.Create(t.Context(), newPod("calls", "left-out", map[string]string{
			egress.AnnotationTarget: "external.system.com",
		})); !denied(err, "mtls-egress-webhook-injected") {
			t.Errorf("a Pod that asks where the webhook is not called: %v", err)
		}
		c.upgrade(t, webhook)
		await.True(
			t,
			"all namespaces are served again, and what isn't propagated is refused",
			func(ctx context.Context) bool {
				return called(ctx, "calls") &&
					denied(c.Create(ctx, asking.DeepCopy(), client.DryRunAll), "mtls-egress-webhook-propagated")
			},
		)
	})
}
