package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/plan"
	"mtls.egress/webhook/internal/target"
)

// program writes the objects of a plan. It returns the objects whose names are taken by objects of other owners; those
// are left alone, and the others are written all the same. again is when the anchor has to be looked at once more, 0 if
// it need not be.
func (r *EgressTargetReconciler) program(ctx context.Context, egressTarget *v1alpha1.EgressTarget, p plan.Plan) (taken []string, again time.Duration, err error) {
	var desired []*unstructured.Unstructured
	for _, object := range p.Objects() {
		object.SetOwnerReferences([]metav1.OwnerReference{ownerReference(egressTarget, true)})
		content, err := mesh.Unstructured(object)
		if err != nil {
			return nil, 0, err
		}
		desired = append(desired, content)
	}
	if p.Closed {
		return r.close(ctx, egressTarget, desired, p.Target.AddressShared)
	}
	if p.Target.AddressShared {
		if err := r.removeListener(ctx, egressTarget); err != nil {
			return nil, 0, err
		}
	}
	anchor, again, err := r.anchorToWrite(ctx, egressTarget)
	if err != nil {
		return nil, 0, err
	}
	taken, err = r.ensureAll(ctx, egressTarget, append(anchor, desired...))
	return taken, again, err
}

// removeListener removes the listener of a target that shares its address, as it would take the calls of both. It fails
// also if the listener is held.
func (r *EgressTargetReconciler) removeListener(ctx context.Context, egressTarget *v1alpha1.EgressTarget) error {
	name := target.ListenerName(egressTarget.Name)
	present, err := cachedIstioObject(ctx, r.cache, mesh.KindServiceEntry, egressTarget.Namespace, name)
	if err != nil || present == nil {
		return err
	}
	gone, err := r.remove(ctx, mesh.KindServiceEntry, egressTarget, name)
	if err == nil && !gone {
		err = fmt.Errorf("another target has the same sinkhole address, but a finalizer of another owner holds the listener %s; remove the finalizer", name)
	}
	return err
}

// close writes the objects of a closed target: first of all the VirtualService, which stops calls by itself, so that
// nothing that fails comes before it; then the rest. It removes the listener if the address is shared, and the
// ServiceEntry, and writes the anchor. It goes on after an error, and returns all.
func (r *EgressTargetReconciler) close(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, desired []*unstructured.Unstructured, addressShared bool,
) (taken []string, again time.Duration, err error) {
	taken, err = r.ensureAll(ctx, egressTarget, desired)
	if err != nil && stale(err) {
		return taken, 0, err
	}
	if addressShared {
		err = errors.Join(err, r.removeListener(ctx, egressTarget))
	}
	name := target.ObjectName(egressTarget.Name)
	gone, removeErr := r.remove(ctx, mesh.KindServiceEntry, egressTarget, name)
	if removeErr == nil && !gone {
		removeErr = fmt.Errorf("the target is closed, but a finalizer of another owner holds the ServiceEntry %s; remove the finalizer", name)
	}
	anchor, again, anchorErr := r.anchorToWrite(ctx, egressTarget)
	if anchorErr == nil {
		var takenAnchor []string
		takenAnchor, anchorErr = r.ensureAll(ctx, egressTarget, anchor)
		taken = append(taken, takenAnchor...)
	}
	return taken, again, errors.Join(err, removeErr, anchorErr)
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
	if present != nil && asDesired(present, desired) {
		return nil, 0, nil
	}
	if again = r.anchorPause(present, desired); again > 0 {
		return nil, again, nil
	}
	return []*unstructured.Unstructured{desired}, 0, nil
}

// ensureAll writes objects in their order, and stops at the first error, so that none is written before one that it
// needs.
func (r *EgressTargetReconciler) ensureAll(ctx context.Context, egressTarget *v1alpha1.EgressTarget, objects []*unstructured.Unstructured) (taken []string, err error) {
	for _, object := range objects {
		free, err := r.ensure(ctx, egressTarget, object)
		if err != nil {
			return taken, fmt.Errorf("write the %s %s: %w", object.GetKind(), object.GetName(), err)
		}
		if !free {
			taken = append(taken, object.GetKind()+" "+object.GetName())
		}
	}
	return taken, nil
}

// ours reports whether an object with the name of one of the EgressTarget's, or of the anchor, belongs to it. The anchor
// belongs to all EgressTargets of its namespace.
func ours(egressTarget *v1alpha1.EgressTarget, object metav1.Object) bool {
	return mesh.OwnedFor(object, egressTarget.Name) || object.GetName() == target.AnchorName && mesh.Owned(object)
}

// ensure makes the object in the cluster what desired says, and writes nothing if it is. It returns false, and touches
// nothing, if an object that is not the EgressTarget's has the name. The anchor is that of any EgressTarget.
func (r *EgressTargetReconciler) ensure(ctx context.Context, egressTarget *v1alpha1.EgressTarget, desired *unstructured.Unstructured) (free bool, err error) {
	present, err := cachedIstioObject(ctx, r.cache, desired.GetKind(), desired.GetNamespace(), desired.GetName())
	switch {
	case err != nil:
		return false, err
	case present != nil && !ours(egressTarget, present):
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

// apply sends object by server-side apply. That leaves what other managers added: in a spec a field more can undo what
// the others say, as spec.gateways takes a VirtualService off the sidecars, and a label istio.io/rev makes Istio ignore
// the object. So the object is replaced if the answer has more than desired.
func (r *EgressTargetReconciler) apply(ctx context.Context, object, desired *unstructured.Unstructured, options ...client.ApplyOption) error {
	log.FromContext(ctx).Info("writing", "object", desired.GetKind()+" "+desired.GetName())
	if err := r.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), options...); err != nil {
		return err
	}
	r.versions.wrote(desired.GetKind(), object, r.clock.Now())
	if !equality.Semantic.DeepEqual(object.Object["spec"], desired.Object["spec"]) || markedForIstio(object) {
		object.Object["spec"] = desired.DeepCopy().Object["spec"]
		object.SetLabels(withoutIstioKeys(object.GetLabels()))
		object.SetAnnotations(withoutIstioKeys(object.GetAnnotations()))
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

// markedForIstio reports whether an object has a label or an annotation that Istio reads. No generated one has.
func markedForIstio(object metav1.Object) bool {
	return len(withoutIstioKeys(object.GetLabels())) < len(object.GetLabels()) ||
		len(withoutIstioKeys(object.GetAnnotations())) < len(object.GetAnnotations())
}

func withoutIstioKeys(texts map[string]string) map[string]string {
	kept := maps.Clone(texts)
	maps.DeleteFunc(kept, func(key, _ string) bool { return mesh.ReadByIstio(key) })
	return kept
}

// asDesired reports whether present has exactly the spec of desired, its labels, its owners, and nothing else that Istio
// reads.
func asDesired(present, desired *unstructured.Unstructured) bool {
	return !markedForIstio(present) && equality.Semantic.DeepEqual(present.Object["spec"], desired.Object["spec"]) && ownedAsDesired(present, desired)
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
	return errors.Is(err, errCacheBehind) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || absent.Object(err)
}
