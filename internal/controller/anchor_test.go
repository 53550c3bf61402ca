package controller

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/mesh"
)

func TestAnchorMembers(t *testing.T) {
	egressTarget := func(name string) v1alpha1.EgressTarget {
		return v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
	}
	own, member, held, stranger := egressTarget("own"), egressTarget("member"), egressTarget("held"), egressTarget("stranger")
	held.Finalizers = []string{Finalizer}
	present := newIstioObject(mesh.KindServiceEntry)
	present.SetOwnerReferences([]metav1.OwnerReference{ownerReference(&member, false), ownerReference(&v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: "gone", UID: "gone"}}, false)})

	names := func(members []v1alpha1.EgressTarget) []string {
		var names []string
		for _, m := range members {
			names = append(names, m.Name)
		}
		return names
	}
	siblings := []v1alpha1.EgressTarget{stranger, member, held}
	if diff := cmp.Diff([]string{"own", "member", "held"}, names(anchorMembers(&own, siblings, present))); diff != "" {
		t.Errorf("when own is programmed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"member", "held"}, names(anchorMembers(nil, siblings, present))); diff != "" {
		t.Errorf("when own goes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"own", "held"}, names(anchorMembers(&own, siblings, nil))); diff != "" {
		t.Errorf("without an anchor (-want +got):\n%s", diff)
	}
}

func TestAnchorForIsTheSameWhateverTheOrder(t *testing.T) {
	a := v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: "a.com", UID: "a"}, Spec: v1alpha1.EgressTargetSpec{AppPort: 8080}}
	b := v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: "b.com", UID: "b"}}
	forward, err := anchorFor("project", []v1alpha1.EgressTarget{a, b})
	if err != nil {
		t.Fatal(err)
	}
	backward, err := anchorFor("project", []v1alpha1.EgressTarget{b, a})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(forward.Object, backward.Object); diff != "" {
		t.Errorf("(-forward +backward):\n%s", diff)
	}
	anchor := mesh.Anchor("project", []int32{8080, 80})
	anchor.OwnerReferences = []metav1.OwnerReference{ownerReference(&a, false), ownerReference(&b, false)}
	want, err := mesh.Unstructured(anchor)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Object, forward.Object); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
