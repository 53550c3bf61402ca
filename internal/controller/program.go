package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/target"
)

// program writes the objects of a plan in their order: the anchor, the VirtualService, the DestinationRule, the ServiceEntry; of a
// closed plan the ServiceEntry is removed before that. It stops at the first error, so that none is written before the one that it
// needs. It returns the objects whose names are taken by somebody else's; those are left alone, and the others are written all
// the same: where that could lead a call out in plain text, the plan is closed. again is when the anchor has to be looked at
// once more, 0 when it needn't.
func (r *EgressTargetReconciler) program(ctx context.Context, egressTarget *v1alpha1.EgressTarget, siblings []v1alpha1.EgressTarget, p plan) (taken []string, again time.Duration, err error) {
	held := false
	if p.closed {
		gone, err := r.remove(ctx, mesh.KindServiceEntry, egressTarget.Namespace, target.ObjectName(egressTarget.Name))
		if err != nil {
			return nil, 0, err
		}
		held = !gone
	}
	present, err := cachedIstioObject(ctx, r.cache, mesh.KindServiceEntry, egressTarget.Namespace, target.AnchorName)
	if err != nil {
		return nil, 0, err
	}
	members := anchorMembers(egressTarget, siblings, present)
	anchor, err := anchorFor(egressTarget.Namespace, members)
	if err != nil {
		return nil, 0, err
	}
	options, err := r.dnsCapture.options(ctx)
	if err != nil {
		return nil, 0, err
	}
	var desired []*unstructured.Unstructured
	if present == nil || !asDesired(present, anchor) {
		if again = r.anchorPause(present, anchor); again == 0 {
			desired = append(desired, anchor)
		}
	}
	for _, object := range p.objects(options) {
		object.SetOwnerReferences([]metav1.OwnerReference{ownerReference(egressTarget, true)})
		content, err := mesh.Unstructured(object)
		if err != nil {
			return nil, 0, err
		}
		desired = append(desired, content)
	}
	for _, object := range desired {
		free, err := r.ensure(ctx, object)
		if err != nil {
			return taken, 0, fmt.Errorf("write the %s %s: %w", object.GetKind(), object.GetName(), err)
		}
		if !free {
			taken = append(taken, object.GetKind()+" "+object.GetName())
		}
	}
	if held {
		return taken, 0, fmt.Errorf("the ServiceEntry %s has to go, as calls could leave without mutual TLS, but somebody's finalizer holds it", target.ObjectName(egressTarget.Name))
	}
	return taken, again, nil
}

// ensure makes the object in the cluster what desired says, and writes nothing when it is. It returns false, and touches
// nothing, when an object of somebody else's has the name.
func (r *EgressTargetReconciler) ensure(ctx context.Context, desired *unstructured.Unstructured) (free bool, err error) {
	present, err := cachedIstioObject(ctx, r.cache, desired.GetKind(), desired.GetNamespace(), desired.GetName())
	switch {
	case err != nil:
		return false, err
	case present != nil && !mesh.Owned(present):
		return false, nil
	case present != nil && asDesired(present, desired):
		return true, nil
	}
	key := keyOf(desired.GetKind(), desired)
	if !r.versions.begin(key) {
		return true, errCacheBehind
	}
	defer r.versions.end(key)
	if present == nil {
		return true, r.create(ctx, desired)
	}
	if r.versions.behind(key.kind, present, r.clock.Now()) {
		return true, errCacheBehind
	}
	// Bound to what was read: an object that was changed or replaced since is looked at again.
	bound := desired.DeepCopy()
	bound.SetUID(present.GetUID())
	bound.SetResourceVersion(present.GetResourceVersion())
	return true, r.apply(ctx, bound, desired, client.ForceOwnership)
}

// create makes an object that the cache doesn't have, without force, so that one which somebody else made a moment ago is a conflict. One that we made ourselves is none, and would lose what it
// was made with.
func (r *EgressTargetReconciler) create(ctx context.Context, desired *unstructured.Unstructured) error {
	if _, known := r.versions.recent(desired.GetKind(), desired, r.clock.Now()); known {
		made, err := liveIstioObject(ctx, r.live, desired.GetKind(), desired.GetNamespace(), desired.GetName())
		if err != nil {
			return err
		}
		if made != nil {
			return errCacheBehind
		}
	}
	return r.apply(ctx, desired.DeepCopy(), desired)
}

// apply sends object by server-side apply. That leaves fields which somebody else added, and in a spec of ours a field more
// can undo what the others say: spec.gateways takes a VirtualService off the sidecars. So the spec is replaced when the answer
// has more than desired.
func (r *EgressTargetReconciler) apply(ctx context.Context, object, desired *unstructured.Unstructured, options ...client.ApplyOption) error {
	log.FromContext(ctx).Info("writing", "object", desired.GetKind()+" "+desired.GetName())
	if err := r.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), options...); err != nil {
		return err
	}
	r.versions.wrote(desired.GetKind(), object, r.clock.Now())
	if !equality.Semantic.DeepEqual(object.Object["spec"], desired.Object["spec"]) {
		object.Object["spec"] = desired.DeepCopy().Object["spec"]
		if err := r.client.Update(ctx, object); err != nil {
			return err
		}
		r.versions.wrote(desired.GetKind(), object, r.clock.Now())
	}
	repaired, err := r.repairs.written(desired, object)
	if err != nil {
		return err
	}
	if repaired {
		log.FromContext(ctx).Info("put back what somebody else changed or deleted", "object", desired.GetKind()+" "+desired.GetName())
	}
	return nil
}

// asDesired says whether present has exactly the spec of desired, its labels, and its owners.
func asDesired(present, desired *unstructured.Unstructured) bool {
	return equality.Semantic.DeepEqual(present.Object["spec"], desired.Object["spec"]) && ownedAsDesired(present, desired)
}

// ownedAsDesired says whether present has the labels of desired, and its owners. Labels and owners that others added stay, but for EgressTargets that are not
// owners any more.
func ownedAsDesired(present, desired metav1.Object) bool {
	labels := present.GetLabels()
	for name, value := range desired.GetLabels() {
		if labels[name] != value {
			return false
		}
	}
	owners := slices.DeleteFunc(slices.Clone(present.GetOwnerReferences()), func(owner metav1.OwnerReference) bool { return !isEgressTarget(owner) })
	return len(owners) == len(desired.GetOwnerReferences()) && !slices.ContainsFunc(desired.GetOwnerReferences(), func(wanted metav1.OwnerReference) bool {
		return !slices.ContainsFunc(owners, func(owner metav1.OwnerReference) bool { return equality.Semantic.DeepEqual(owner, wanted) })
	})
}

// isEgressTarget says whether an owner is an EgressTarget.
func isEgressTarget(owner metav1.OwnerReference) bool {
	return mesh.Owned(&metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{owner}})
}

// errCacheBehind is for a write that would be refused, or that another worker does on the same base.
var errCacheBehind = errors.New("the cache doesn't have the last write yet")

// stale says whether a write failed because the cache was behind: whoever changed the object will be noticed in a moment.
func stale(err error) bool {
	return errors.Is(err, errCacheBehind) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}
