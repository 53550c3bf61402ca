package controller

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/informers"
)

// TestAnOwnerIsReportedWithItsFirstPod follows the Pods without a sidecar of a StatefulSet.
func TestAnOwnerIsReportedWithItsFirstPod(t *testing.T) {
	r := newSidecarReconciler(nil, nil, nil)
	pod := func(name string, uid types.UID, owners ...metav1.OwnerReference) *informers.Pod {
		metadata := metav1.ObjectMeta{Name: name, UID: uid, OwnerReferences: owners}
		return informers.NewPod(&corev1.Pod{ObjectMeta: metadata}, egress.Sinkhole{})
	}
	db := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", UID: "1", Controller: new(true)}
	type reported struct{ Pod, Owner bool }
	steps := []struct {
		name   string
		pod    *informers.Pod
		forget string
		want   reported
	}{
		{name: "the first Pod", pod: pod("db-0", "1", db), want: reported{Pod: true, Owner: true}},
		{name: "the same Pod", pod: pod("db-0", "1", db)},
		{name: "the second Pod", pod: pod("db-1", "2", db), want: reported{Pod: true}},
		{name: "a Pod that replaces the first", pod: pod("db-0", "3", db), want: reported{Pod: true}},
		{name: "a Pod without an owner", pod: pod("by-hand", "4"), want: reported{Pod: true}},
		{name: "while one of its Pods is left", forget: "db-0", pod: pod("db-2", "5", db), want: reported{Pod: true}},
		{name: "the second is gone", forget: "db-1", pod: pod("db-2", "5", db)},
		{name: "after the last Pod", forget: "db-2", pod: pod("db-0", "6", db), want: reported{Pod: true, Owner: true}},
	}
	for _, step := range steps {
		if step.forget != "" {
			r.forget(types.NamespacedName{Name: step.forget})
		}
		var got reported
		got.Pod, got.Owner = r.first(step.pod)
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
	for _, name := range []string{"db-0", "by-hand", "unknown"} {
		r.forget(types.NamespacedName{Name: name})
	}
	if len(r.reported)+len(r.owners) > 0 {
		t.Errorf("%v and %v are remembered without Pods", r.reported, r.owners)
	}
}
