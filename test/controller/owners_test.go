package controller

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/await"
)

// shopCRD is a kind that creates Pods and is not among the workloads. Its ClusterRole makes it part
// of view.
const shopCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: shops.example.com}
spec:
  group: example.com
  names: {kind: Shop, plural: shops, singular: shop, listKind: ShopList}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: shops-view, labels: {rbac.authorization.k8s.io/aggregate-to-view: "true"}}
rules:
- {apiGroups: [example.com], resources: [shops], verbs: [get, list, watch]}
`

// TestAnnotationsOfUnknownKindsAreFound: a Shop with the annotation creates a ReplicaSet, and that
// one Pods. Nothing at admission knows Shops. Other Pods have owners that can't be read.
func TestAnnotationsOfUnknownKindsAreFound(t *testing.T) {
	w := newWorld(t)
	w.shops()
	shop := w.owner("example.com/v1", "Shop", "shop", nil)
	w.patch(shop, map[string]any{"metadata": map[string]any{"annotations": map[string]any{egress.AnnotationTarget: host}}})
	replicaSet := w.owner("apps/v1", "ReplicaSet", "shop-1", shop)
	deployment := w.owner("apps/v1", "Deployment", "plain", nil)
	lease := w.owner("coordination.k8s.io/v1", "Lease", "lock", nil)
	ghost := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Ghost"}}
	ghost.SetName("ghost")
	ghost.SetUID("ghost")
	for name, owner := range map[string]client.Object{
		"shop-1-a": replicaSet, "shop-1-b": replicaSet, "direct": shop,
		"plain": w.owner("apps/v1", "ReplicaSet", "plain-1", deployment), "locked": lease, "haunted": ghost,
	} {
		w.pod(name, host, ownedBy(owner), func(pod *corev1.Pod) { pod.Labels, pod.Annotations = nil, nil })
	}
	ended := w.pod("ended", host, ownedBy(shop), func(pod *corev1.Pod) { pod.Labels, pod.Annotations = nil, nil })
	ended.Status.Phase = corev1.PodSucceeded
	if err := w.Status().Update(t.Context(), ended); err != nil {
		t.Fatal(err)
	}

	running := w.start(controller.Options{SurveyInterval: time.Second, ReadOwners: true})
	w.gaugeOfNamespace(running, "mtls_egress_pods_not_propagated", 3)
	w.gauge(running, "mtls_egress_owners_unreadable", "Lease.coordination.k8s.io", 1)
	w.gauge(running, "mtls_egress_owners_unreadable", "Ghost.example.com", 1)
	await.Eventually(w, "", func() error {
		if diff := cmp.Diff([]string{"Warning NotPropagated"}, w.events(shop)); diff != "" {
			return fmt.Errorf("the events (+) aren't as wanted (-):\n%s", diff)
		}
		return nil
	})
	if shown := w.describe(shop); !strings.Contains(shown, "shops.example.com: {kind: Shop, templates: [spec.template]}") {
		t.Errorf("kubectl describe doesn't show the event:\n%s", shown)
	}
	w.readMetadataOnly(running)
	w.remove(shop)
	w.gaugeOfNamespace(running, "mtls_egress_pods_not_propagated", 0)
}

// TestOwnersAreNotReadWithoutTheOption: the account then has no rights to them.
func TestOwnersAreNotReadWithoutTheOption(t *testing.T) {
	w := newWorld(t)
	replicaSet := w.owner("apps/v1", "ReplicaSet", "shop-1", nil)
	w.pod("past", host, ownedBy(replicaSet), func(pod *corev1.Pod) { pod.Labels = nil })
	w.pod("without", host, ownedBy(replicaSet), func(pod *corev1.Pod) { pod.Labels, pod.Annotations = nil, nil })
	running := w.start(controller.Options{SurveyInterval: 100 * time.Millisecond})
	w.gaugeOfNamespace(running, "mtls_egress_pods_not_injected", 1)
	if read := running.requests.matching(readsOwners); len(read) > 0 {
		t.Errorf("owners were read: %q", read)
	}
}

func readsOwners(line string) bool {
	return strings.Contains(line, "/apis/apps/v1/") || strings.Contains(line, "/shops")
}

// readMetadataOnly checks that owners were listed in pages, and not got one by one.
func (w *world) readMetadataOnly(running *running) {
	w.Helper()
	for _, line := range running.requests.matching(readsOwners) {
		if !strings.Contains(line, "?limit=500") {
			w.Errorf("owners are listed in pages, but there was %q", line)
		}
	}
}

// describe returns what kubectl describe prints about an object.
func (w *world) describe(object client.Object) string {
	w.Helper()
	described, _, err := w.server.Kubectl(w.Context(), "describe", "--namespace="+w.namespace,
		strings.ToLower(object.GetObjectKind().GroupVersionKind().Kind), object.GetName())
	if err != nil {
		w.Fatal(err)
	}
	return described
}

// shops installs the kind Shop.
func (w *world) shops() {
	w.Helper()
	file := filepath.Join(w.TempDir(), "shops.yaml")
	if err := os.WriteFile(file, []byte(shopCRD), 0o600); err != nil {
		w.Fatal(err)
	}
	if _, _, err := w.server.Kubectl(w.Context(), "apply", "--server-side", "--filename="+file); err != nil {
		w.Fatal(err)
	}
	if _, _, err := w.server.Kubectl(w.Context(), "wait", "--for=condition=Established",
		"--timeout="+await.Patience.String(), "customresourcedefinition/shops.example.com"); err != nil {
		w.Fatal(err)
	}
	if err := aggregateView(w.Context(), w.server); err != nil {
		w.Fatal(err)
	}
}

// owner creates an object that can own Pods, with an owner of its own unless that is nil.
func (w *world) owner(apiVersion, kind, name string, above client.Object) *unstructured.Unstructured {
	w.Helper()
	object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind}}
	object.SetName(name)
	if above != nil {
		object.SetOwnerReferences([]metav1.OwnerReference{reference(above)})
	}
	labels := map[string]any{"app": name}
	template := map[string]any{
		"metadata": map[string]any{"labels": labels},
		"spec": map[string]any{
			"containers": []any{map[string]any{"name": "app", "image": "app"}}, "restartPolicy": "Always",
		},
	}
	ofJob := map[string]any{"template": map[string]any{"spec": map[string]any{
		"containers": []any{map[string]any{"name": "app", "image": "app"}}, "restartPolicy": "Never",
	}}}
	switch kind {
	case "ReplicaSet", "Deployment":
		object.Object["spec"] = map[string]any{"selector": map[string]any{"matchLabels": labels}, "template": template}
	case "Job":
		object.Object["spec"] = ofJob
	case "CronJob":
		object.Object["spec"] = map[string]any{"schedule": "0 3 * * *", "jobTemplate": map[string]any{"spec": ofJob}}
	}
	w.create(object)
	return object
}

func reference(to client.Object) metav1.OwnerReference {
	return *metav1.NewControllerRef(to, to.GetObjectKind().GroupVersionKind())
}

// ownedBy makes a Pod of an owner.
func ownedBy(owner client.Object) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.OwnerReferences = []metav1.OwnerReference{reference(owner)} }
}
