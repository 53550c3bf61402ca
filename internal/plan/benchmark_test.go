package plan_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/informers"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/plan"
)

// BenchmarkDecideForManyPods decides about a target with 10,000 Pods of 100 Deployments as each
// reconciliation does, from the cached Pods to the status and the events on workloads, without the
// requests to the API server.
func BenchmarkDecideForManyPods(b *testing.B) {
	const host, count, deployments = "external.system.com", 10_000, 100
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	pods := make([]*informers.Pod, count)
	cached := transform(b)
	for n := range pods {
		pods[n] = cached(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "project", Name: fmt.Sprintf("shop-%d-%d", n%deployments, n),
				CreationTimestamp: metav1.NewTime(now.Add(time.Duration(n*7919%count) * time.Second)),
				Labels: map[string]string{
					egress.LabelInjected: egress.LabelValue, egress.HostLabel(host): egress.LabelValue,
					"pod-template-hash": "6d4cf56db6",
				},
				Annotations: map[string]string{
					egress.AnnotationTarget: host,
					"sidecar.istio.io/userVolume": `[{"name":"mtls-egress-external-system-com","secret":` +
						`{"secretName":"external-system-mtls-data"}}]`,
				},
				OwnerReferences: []metav1.OwnerReference{{
					APIVersion: "apps/v1", Kind: "ReplicaSet", Name: fmt.Sprintf("shop-%d-6d4cf56db6", n%deployments),
					Controller: new(true),
				}},
			},
			Spec: corev1.PodSpec{Containers: []corev1.Container{
				{Name: "app"}, {Name: egress.ProxyContainer, Image: "proxyv2:1.31"},
			}},
		})
	}
	egressTarget := &v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Namespace: "project", Name: host}}
	t := egress.FromEgressTarget("project", host, egressTarget, egress.Sinkhole{})
	b.ReportAllocs()
	for b.Loop() {
		demands := plan.DemandsOf(t, pods)
		plan.SecretsInUse(t, demands)
		decided := plan.Decide(plan.Facts{EgressTarget: egressTarget, Demands: demands, Now: now})
		status := decided.Status(plan.Written{})
		decided.WorkloadEvents(status, decided.ToldBefore())
		if status.Pods != count {
			b.Fatalf("%d Pods", status.Pods)
		}
	}
}

// BenchmarkAnchor makes the anchor of a namespace with 1,000 targets, as each of them does when it
// is programmed.
func BenchmarkAnchor(b *testing.B) {
	var siblings []v1alpha1.EgressTarget
	for n := range 1000 {
		name := fmt.Sprintf("partner-%d.example.com", n)
		siblings = append(siblings, v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{
			Namespace: "project", Name: name, UID: types.UID(name), Finalizers: []string{egress.Finalizer},
		}})
	}
	present, err := mesh.Unstructured(plan.Anchor("project", nil, plan.AnchorMembers(nil, siblings, nil), nil))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		plan.Anchor("project", nil, plan.AnchorMembers(&siblings[0], siblings[1:], present), present)
	}
}

// transform returns the function that makes what the cache has of a Pod.
func transform(b *testing.B) func(*corev1.Pod) *informers.Pod {
	b.Helper()
	for object, options := range informers.Options(egress.Sinkhole{}).ByObject {
		if _, ok := object.(*corev1.Pod); !ok {
			continue
		}
		return func(pod *corev1.Pod) *informers.Pod {
			made, err := options.Transform(pod)
			cached, ok := made.(*informers.Pod)
			if err != nil || !ok {
				b.Fatalf("%T: %v", made, err)
			}
			return cached
		}
	}
	b.Fatal("the cache has no Pods")
	return nil
}
