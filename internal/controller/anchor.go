package controller

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/target"
)

// anchorFor returns the anchor of a namespace as it has to stand: with the app ports of its targets that have Pods, and
// some of its EgressTargets, members, as owners. present is the anchor that stands, nil without one.
func anchorFor(namespace string, appPorts []int32, members []v1alpha1.EgressTarget, present *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	anchor := mesh.Anchor(namespace, appPorts)
	anchor.OwnerReferences = anchorOwners(members, present)
	return mesh.Unstructured(anchor)
}

// appPorts returns the app ports of those members that have Pods: each port more is one on which sidecars of the whole
// namespace expect HTTP. Where sidecars resolve unknown hosts themselves, a Pod must find its port there when it comes, so
// it returns those of all members.
func (r *EgressTargetReconciler) appPorts(ctx context.Context, namespace string, members []v1alpha1.EgressTarget) ([]int32, error) {
	var ports []int32
	for i := range members {
		pods, err := r.pods.of(ctx, namespace, members[i].Name)
		if err != nil {
			return nil, err
		}
		if r.meshConfig().DynamicDNS || slices.ContainsFunc(pods, func(p *pod) bool { return !p.Ended() }) {
			ports = append(ports, target.FromEgressTarget(namespace, members[i].Name, &members[i]).AppPort)
		}
	}
	return ports, nil
}

// maxAnchorOwners bounds the owner references of an anchor, as an object of thousands of them is more than etcd stores.
// One owner that exists keeps the anchor from being collected as garbage, and the controller writes it again if it is.
const maxAnchorOwners = 16

// anchorOwners returns the owners of an anchor among members: those that it has, and else the first by name.
func anchorOwners(members []v1alpha1.EgressTarget, present *unstructured.Unstructured) []metav1.OwnerReference {
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b v1alpha1.EgressTarget) int {
		return cmp.Or(ownedFirst(&a, present)-ownedFirst(&b, present), strings.Compare(a.Name, b.Name))
	})
	members = members[:min(len(members), maxAnchorOwners)]
	slices.SortFunc(members, func(a, b v1alpha1.EgressTarget) int { return strings.Compare(a.Name, b.Name) })
	var owners []metav1.OwnerReference
	for i := range members {
		owners = append(owners, ownerReference(&members[i], false))
	}
	return owners
}

func ownedFirst(egressTarget *v1alpha1.EgressTarget, present *unstructured.Unstructured) int {
	if present != nil && owns(egressTarget, present) {
		return 0
	}
	return 1
}

// anchorMembers returns the EgressTargets whose app ports the anchor has to carry: own, unless it is nil, the siblings that own the
// present anchor already, and those that are held, which are programmed in a moment: so many that come at once cost a namespace one
// write of its anchor and not one each. An EgressTarget that was never looked at is left out, as each port more is one on which
// sidecars of the whole namespace expect HTTP.
func anchorMembers(own *v1alpha1.EgressTarget, siblings []v1alpha1.EgressTarget, present *unstructured.Unstructured) []v1alpha1.EgressTarget {
	var members []v1alpha1.EgressTarget
	if own != nil {
		members = append(members, *own)
	}
	for i := range siblings {
		if controllerutil.ContainsFinalizer(&siblings[i], Finalizer) || present != nil && owns(&siblings[i], present) {
			members = append(members, siblings[i])
		}
	}
	return members
}

// pauseOfAnchor is for how long after a write an anchor stays as it is when only its owners have changed.
const pauseOfAnchor = 2 * time.Second

// anchorPause is how long the present anchor stays as it is though it isn't as desired; 0 when it has to be written now. Targets that come one soon after another would
// otherwise cost a write of the anchor each, only to be among its owners. An owner of it is there in any case, so it isn't collected as garbage.
func (r *EgressTargetReconciler) anchorPause(present, desired *unstructured.Unstructured) time.Duration {
	if present == nil || !equality.Semantic.DeepEqual(present.Object["spec"], desired.Object["spec"]) {
		return 0
	}
	remains := slices.ContainsFunc(present.GetOwnerReferences(), func(owner metav1.OwnerReference) bool {
		return slices.ContainsFunc(desired.GetOwnerReferences(), func(wanted metav1.OwnerReference) bool { return wanted.UID == owner.UID })
	})
	if !remains {
		return 0
	}
	return max(0, pauseOfAnchor-r.versions.age(present.GetKind(), present, r.clock.Now()))
}

// owns reports whether the EgressTarget is among the owners of object.
func owns(egressTarget *v1alpha1.EgressTarget, object metav1.Object) bool {
	return slices.ContainsFunc(object.GetOwnerReferences(), func(owner metav1.OwnerReference) bool { return owner.UID == egressTarget.UID })
}

// ownerReference makes the EgressTarget an owner, so that the garbage collector cleans up after somebody who removed the
// finalizer by force. It doesn't block the owner's deletion: the finalizer does, and a blocking reference would let a deletion
// with foreground propagation (the default of Argo CD) take the objects from under living Pods again and again.
// https://kubernetes.io/docs/concepts/architecture/garbage-collection/#foreground-deletion
func ownerReference(egressTarget *v1alpha1.EgressTarget, controller bool) metav1.OwnerReference {
	owner := metav1.OwnerReference{
		APIVersion: v1alpha1.GroupVersion().String(),
		Kind:       v1alpha1.Kind,
		Name:       egressTarget.Name,
		UID:        egressTarget.UID,
	}
	if controller {
		owner.Controller = &controller
	}
	return owner
}
