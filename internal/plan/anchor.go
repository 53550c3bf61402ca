package plan

import (
	"cmp"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	namespace string, appPorts []int32, members []v1alpha1.EgressTarget, present metav1.Object,
) *networkingv1.ServiceEntry {
	anchor := mesh.Anchor(namespace, appPorts)
	anchor.OwnerReferences = anchorOwners(members, present)
	return anchor
}

// anchorOwners returns the owners of the anchor: the members that already own it, and then the
// first by name.
func anchorOwners(members []v1alpha1.EgressTarget, present metav1.Object) []metav1.OwnerReference {
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b v1alpha1.EgressTarget) int {
		return cmp.Or(ownerFirst(&a, present)-ownerFirst(&b, present), strings.Compare(a.Name, b.Name))
	})
	members = members[:min(len(members), maxAnchorOwners)]
	slices.SortFunc(members, func(a, b v1alpha1.EgressTarget) int { return strings.Compare(a.Name, b.Name) })
	var owners []metav1.OwnerReference
	for i := range members {
		owners = append(owners, mesh.OwnerReference(&members[i], false))
	}
	return owners
}

func ownerFirst(egressTarget *v1alpha1.EgressTarget, present metav1.Object) int {
	if ownsAnchor(egressTarget, present) {
		return 0
	}
	return 1
}

func ownsAnchor(egressTarget *v1alpha1.EgressTarget, present metav1.Object) bool {
	return present != nil && mesh.OwnedBy(egressTarget, present)
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
) []v1alpha1.EgressTarget {
	var members []v1alpha1.EgressTarget
	if own != nil {
		members = append(members, *own)
	}
	for i := range siblings {
		if slices.Contains(siblings[i].Finalizers, egress.Finalizer) || ownsAnchor(&siblings[i], present) {
			members = append(members, siblings[i])
		}
	}
	return members
}
