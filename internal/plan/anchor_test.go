package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

func TestAnchorMembers(t *testing.T) {
	egressTarget := func(name string) v1alpha1.EgressTarget {
		return v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
	}
	own, member := egressTarget("own"), egressTarget("member")
	held, stranger := egressTarget("held"), egressTarget("stranger")
	held.Finalizers = []string{egress.Finalizer}
	present := mesh.NewUnstructured(mesh.KindServiceEntry)
	present.SetOwnerReferences([]metav1.OwnerReference{
		mesh.OwnerReference(&member, false),
		mesh.OwnerReference(&v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: "gone", UID: "gone"}}, false),
	})

	names := func(members []*v1alpha1.EgressTarget) []string {
		var names []string
		for _, m := range members {
			names = append(names, m.Name)
		}
		return names
	}
	siblings := []v1alpha1.EgressTarget{stranger, member, held}
	if diff := cmp.Diff([]string{"own", "member", "held"}, names(AnchorMembers(&own, siblings, present))); diff != "" {
		t.Errorf("when own is programmed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"member", "held"}, names(AnchorMembers(nil, siblings, present))); diff != "" {
		t.Errorf("when own is deleted (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"own", "held"}, names(AnchorMembers(&own, siblings, nil))); diff != "" {
		t.Errorf("without an anchor (-want +got):\n%s", diff)
	}
}

func TestAnAnchorIsTheSameWhateverTheOrder(t *testing.T) {
	a := &v1alpha1.EgressTarget{
		ObjectMeta: metav1.ObjectMeta{Name: "a.com", UID: "a"}, Spec: v1alpha1.EgressTargetSpec{AppPort: 8080},
	}
	b := &v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: "b.com", UID: "b"}}
	forward := Anchor("project", []int32{8080, 80}, []*v1alpha1.EgressTarget{a, b}, nil)
	backward := Anchor("project", []int32{80, 8080}, []*v1alpha1.EgressTarget{b, a}, nil)
	want := mesh.Anchor("project", []int32{8080, 80})
	want.OwnerReferences = []metav1.OwnerReference{mesh.OwnerReference(a, false), mesh.OwnerReference(b, false)}
	for _, got := range []*networkingv1.ServiceEntry{forward, backward} {
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// etcd rejects an object with thousands of owner references, and each new owner costs a write of
// the anchor.
func TestAnAnchorHasFewOwnersAndKeepsThem(t *testing.T) {
	var members []*v1alpha1.EgressTarget
	for n := range 3000 {
		name := fmt.Sprintf("%04d.example.com", n)
		members = append(members, &v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}})
	}
	names := func(owners []metav1.OwnerReference) []string {
		var names []string
		for _, owner := range owners {
			names = append(names, owner.Name[:4])
		}
		return names
	}
	present := mesh.NewUnstructured(mesh.KindServiceEntry)
	present.SetOwnerReferences(anchorOwners(members[2990:], nil))
	tests := map[string]struct {
		members []*v1alpha1.EgressTarget
		present metav1.Object
		want    []string
	}{
		"the first by name": {
			members[10:],
			nil,
			strings.Fields("0010 0011 0012 0013 0014 0015 0016 0017 0018 0019 0020 0021 0022 0023 0024 0025"),
		},
		"existing owners stay, however many come before them by name": {
			members,
			present,
			strings.Fields("0000 0001 0002 0003 0004 0005 2990 2991 2992 2993 2994 2995 2996 2997 2998 2999"),
		},
		"deleted owners are replaced": {
			members[:2998],
			present,
			strings.Fields("0000 0001 0002 0003 0004 0005 0006 0007 2990 2991 2992 2993 2994 2995 2996 2997"),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, names(anchorOwners(test.members, test.present))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
