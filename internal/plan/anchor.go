package plan

import (
	"cmp"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/target"
)

// maxAnchorOwners bounds the owner references of an anchor: an object with thousands of them is more than etcd stores.
// One owner that exists keeps the anchor from being collected as garbage, and the controller writes it again if it is.
const maxAnchorOwners = 16

// Anchor returns the anchor of a namespace with the app ports of its targets, and some of its EgressTargets, members, as
// owners. present is the anchor in the cluster, nil without one.
func Anchor(
	namespace string, appPorts []int32, members []v1alpha1.EgressTarget, present metav1.Object,
) *networkingv1.ServiceEntry {
	anchor := mesh.Anchor(namespace, appPorts)
	anchor.OwnerReferences = anchorOwners(members, present)
	return anchor
}

// anchorOwners returns the owners of an anchor among members: those that it has, and then the first by name.
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

// AnchorMembers returns the EgressTargets whose app ports the anchor has to carry: own, unless it is nil, the siblings that
// own the present anchor, and those with our finalizer, which are programmed in a moment. So many that come at once cost a
// namespace one write of its anchor and not one each. An EgressTarget that was never reconciled is left out, as each port
// more is one on which the sidecars of the whole namespace expect HTTP.
func AnchorMembers(
	own *v1alpha1.EgressTarget, siblings []v1alpha1.EgressTarget, present metav1.Object,
) []v1alpha1.EgressTarget {
	var members []v1alpha1.EgressTarget
	if own != nil {
		members = append(members, *own)
	}
	for i := range siblings {
		if slices.Contains(siblings[i].Finalizers, target.Finalizer) || ownsAnchor(&siblings[i], present) {
			members = append(members, siblings[i])
		}
	}
	return members
}
