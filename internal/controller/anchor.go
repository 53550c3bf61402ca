package controller

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/apply"
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
		owners = append(owners, apply.OwnerReference(&members[i], false))
	}
	return owners
}

func ownedFirst(egressTarget *v1alpha1.EgressTarget, present *unstructured.Unstructured) int {
	if present != nil && apply.Owns(egressTarget, present) {
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
		if controllerutil.ContainsFinalizer(&siblings[i], Finalizer) || present != nil && apply.Owns(&siblings[i], present) {
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
	return max(0, pauseOfAnchor-r.writer.Versions.Age(present.GetKind(), present, r.clock.Now()))
}

// anchorToWrite returns the anchor of the namespace if it has to be written, and else when it has to be looked at again.
func (r *EgressTargetReconciler) anchorToWrite(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget,
) (anchor []*unstructured.Unstructured, again time.Duration, err error) {
	present, err := cachedIstioObject(ctx, r.cache, mesh.KindServiceEntry, egressTarget.Namespace, target.AnchorName)
	if err != nil {
		return nil, 0, err
	}
	siblings, err := r.siblings(ctx, egressTarget)
	if err != nil {
		return nil, 0, err
	}
	members := anchorMembers(egressTarget, siblings, present)
	ports, err := r.appPorts(ctx, egressTarget.Namespace, members)
	if err != nil {
		return nil, 0, err
	}
	desired, err := anchorFor(egressTarget.Namespace, ports, members, present)
	if err != nil {
		return nil, 0, err
	}
	if present != nil && apply.AsDesired(present, desired) {
		return nil, 0, nil
	}
	if again = r.anchorPause(present, desired); again > 0 {
		return nil, again, nil
	}
	return []*unstructured.Unstructured{desired}, 0, nil
}

// tearDown removes the objects of an EgressTarget, and of the anchor what no sibling needs. It returns false if one is held.
func (r *EgressTargetReconciler) tearDown(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, siblings []v1alpha1.EgressTarget,
) (done bool, err error) {
	if done, err := r.writer.RemoveAll(ctx, egressTarget); err != nil || !done {
		return done, err
	}
	return r.keepAnchor(ctx, egressTarget, siblings)
}

// keepAnchor leaves the anchor with what the other targets of the namespace need of it, after the objects of the
// EgressTarget are gone, and removes it if none does. It returns false if it is held.
func (r *EgressTargetReconciler) keepAnchor(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, siblings []v1alpha1.EgressTarget,
) (done bool, err error) {
	anchor, err := r.writer.Read(ctx, mesh.KindServiceEntry, egressTarget.Namespace, target.AnchorName)
	if err != nil || anchor == nil || !mesh.Owned(anchor) {
		return err == nil, err
	}
	if members := anchorMembers(nil, siblings, anchor); len(members) > 0 {
		ports, err := r.appPorts(ctx, egressTarget.Namespace, members)
		if err != nil {
			return false, err
		}
		desired, err := anchorFor(egressTarget.Namespace, ports, members, anchor)
		if err != nil {
			return false, err
		}
		_, err = r.writer.Ensure(ctx, egressTarget, desired)
		return err == nil, err
	}
	// The last of several that are torn down at once takes the anchor along: whoever sees objects of another here was not.
	if inUse, err := r.anchorInUse(ctx, egressTarget.Namespace); err != nil || inUse {
		return err == nil, err
	}
	return r.writer.Remove(ctx, mesh.KindServiceEntry, egressTarget, target.AnchorName)
}

// anchorInUse says whether the namespace holds an object of any target.
func (r *EgressTargetReconciler) anchorInUse(ctx context.Context, namespace string) (bool, error) {
	for _, kind := range mesh.HostKinds() {
		list := newIstioList(kind)
		if err := r.live.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels{target.LabelManagedBy: target.ValueManagedBy}); err != nil {
			return false, fmt.Errorf("list the objects of kind %s in %s: %w", kind, namespace, err)
		}
		for i := range list.Items {
			if isTargetObject(&list.Items[i]) {
				return true, nil
			}
		}
	}
	return false, nil
}

func isTargetObject(object *unstructured.Unstructured) bool {
	isAnchor := object.GetKind() == mesh.KindServiceEntry && object.GetName() == target.AnchorName
	return mesh.Owned(object) && !isAnchor
}
