package plan

import (
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// maxAnchorOwners limits the owner references of an anchor, because etcd rejects an object with
// thousands of them. One existing owner is enough to protect the anchor from garbage collection.
// The controller writes a collected anchor again.
const maxAnchorOwners = 16

// Anchor returns the anchor of a namespace. It carries the app ports of the namespace's targets,
// and some of members as owners. present is the anchor in the cluster, or nil.
func Anchor(
	namespace string, appPorts []int32, members []*v1alpha1.EgressTarget, present metav1.Object,
) *networkingv1.ServiceEntry {
	anchor := mesh.Anchor(namespace, appPorts)
	anchor.OwnerReferences = anchorOwners(members, present)
	return anchor
}

// anchorOwners returns the owners of the anchor: the members that already own it, and then the
// first by name. It sorts what it returns and no more, because a namespace can have a thousand
// targets, and each of them asks.
func anchorOwners(members []*v1alpha1.EgressTarget, present metav1.Object) []metav1.OwnerReference {
	held := owners(present)
	var owning, further []*v1alpha1.EgressTarget
	for _, member := range members {
		if held.Has(member.UID) {
			owning = append(owning, member)
		} else {
			further = append(further, member)
		}
	}
	byName := func(a, b *v1alpha1.EgressTarget) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(owning, byName)
	if len(owning) < maxAnchorOwners {
		slices.SortFunc(further, byName)
		owning = append(owning, further...)
	}
	owning = owning[:min(len(owning), maxAnchorOwners)]
	slices.SortFunc(owning, byName)
	var references []metav1.OwnerReference
	for _, egressTarget := range owning {
		references = append(references, mesh.OwnerReference(egressTarget, false))
	}
	return references
}

// owners are the UIDs of those of the present anchor, read once: the object from a cache is
// unstructured, so that each reading converts them.
func owners(present metav1.Object) sets.Set[types.UID] {
	found := sets.New[types.UID]()
	if present == nil {
		return found
	}
	for _, owner := range present.GetOwnerReferences() {
		found.Insert(owner.UID)
	}
	return found
}

// AnchorMembers returns the EgressTargets whose app ports the anchor must carry:
//   - own, unless it is nil,
//   - the siblings that own the present anchor,
//   - the siblings with our finalizer, which the controller is about to program.
//
// The last group lets many new targets of a namespace share one write of the anchor. An
// EgressTarget that was never reconciled is left out: on each additional port, all sidecars of the
// namespace expect HTTP.
func AnchorMembers(
	own *v1alpha1.EgressTarget, siblings []v1alpha1.EgressTarget, present metav1.Object,
) []*v1alpha1.EgressTarget {
	held := owners(present)
	var members []*v1alpha1.EgressTarget
	if own != nil {
		members = append(members, own)
	}
	for i := range siblings {
		if slices.Contains(siblings[i].Finalizers, egress.Finalizer) || held.Has(siblings[i].UID) {
			members = append(members, &siblings[i])
		}
	}
	return members
}
