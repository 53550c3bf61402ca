package apply

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/plan"
)

// Program writes the objects of a plan. It returns the objects whose names are taken by objects of
// other owners. It leaves those alone and writes the rest.
func (w *Writer) Program(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, p plan.Plan, anchorOf AnchorOf,
) (taken []string, err error) {
	var desired []*unstructured.Unstructured
	for _, object := range p.Objects() {
		object.SetOwnerReferences([]metav1.OwnerReference{mesh.OwnerReference(egressTarget, true)})
		content, err := mesh.Unstructured(object)
		if err != nil {
			return nil, err
		}
		desired = append(desired, content)
	}
	if p.Closed {
		return w.close(ctx, egressTarget, desired, p.Target.AddressShared, anchorOf)
	}
	if p.Target.AddressShared {
		if err := w.removeListener(ctx, egressTarget); err != nil {
			return nil, err
		}
	}
	takenAnchor, err := w.takenAnchor(ctx, egressTarget, anchorOf)
	if err != nil {
		return nil, err
	}
	taken, err = w.ensureAll(ctx, egressTarget, desired)
	return append(takenAnchor, taken...), err
}

// takenAnchor writes the anchor. It returns the anchor in taken if an object of another owner has
// its name.
func (w *Writer) takenAnchor(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, anchorOf AnchorOf,
) (taken []string, err error) {
	free, err := w.ensureAnchor(ctx, egressTarget, anchorOf)
	if err != nil {
		return nil, fmt.Errorf("write the anchor: %w", err)
	}
	if !free {
		taken = append(taken, mesh.KindServiceEntry+" "+egress.AnchorName)
	}
	return taken, nil
}

// removeListener deletes the listener of a target that shares its address, because the listener
// would catch the calls of both targets. It fails if a finalizer prevents the deletion.
func (w *Writer) removeListener(ctx context.Context, egressTarget *v1alpha1.EgressTarget) error {
	name := egress.ListenerName(egressTarget.Name)
	present, err := w.Cached(ctx, mesh.KindServiceEntry, egressTarget.Namespace, name)
	if err != nil || present == nil {
		return err
	}
	gone, err := w.remove(ctx, mesh.KindServiceEntry, egressTarget, name)
	if err == nil && !gone {
		err = fmt.Errorf("another target has the same sinkhole address, but a finalizer of another owner prevents "+
			"the deletion of the listener %s; remove the finalizer", name)
	}
	return err
}

// close writes the objects of a closed target. The VirtualService alone stops calls, so it comes
// first, before anything that can fail. Then close writes the rest, deletes the ServiceEntry, and
// the listener if the address is shared, and writes the anchor. It continues after an error, and
// returns all errors.
func (w *Writer) close(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget,
	desired []*unstructured.Unstructured, addressShared bool, anchorOf AnchorOf,
) (taken []string, err error) {
	taken, err = w.ensureAll(ctx, egressTarget, desired)
	if err != nil && Stale(err) {
		return taken, err
	}
	if addressShared {
		err = errors.Join(err, w.removeListener(ctx, egressTarget))
	}
	name := egress.ObjectName(egressTarget.Name)
	gone, removeErr := w.remove(ctx, mesh.KindServiceEntry, egressTarget, name)
	if removeErr == nil && !gone {
		removeErr = fmt.Errorf("the target is closed, but a finalizer of another owner prevents "+
			"the deletion of the ServiceEntry %s; remove the finalizer", name)
	}
	takenAnchor, anchorErr := w.takenAnchor(ctx, egressTarget, anchorOf)
	return append(taken, takenAnchor...), errors.Join(err, removeErr, anchorErr)
}

// RemoveAll deletes the objects of an EgressTarget in the reverse order of their writing: the
// listener, the ServiceEntry, the DestinationRule, the VirtualService, and then the parts of the
// anchor that no other target needs. A live read confirms each deletion before the next one. It
// returns false if a finalizer of another owner prevents a deletion.
func (w *Writer) RemoveAll(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, anchorOf AnchorOf,
) (done bool, err error) {
	name := egress.ObjectName(egressTarget.Name)
	for _, object := range []struct{ kind, name string }{
		{mesh.KindServiceEntry, egress.ListenerName(egressTarget.Name)},
		{mesh.KindServiceEntry, name}, {mesh.KindDestinationRule, name}, {mesh.KindVirtualService, name},
	} {
		if gone, err := w.remove(ctx, object.kind, egressTarget, object.name); err != nil || !gone {
			return false, err
		}
	}
	return w.releaseAnchor(ctx, egressTarget, anchorOf)
}

// remove deletes an object of the EgressTarget and reports whether it is gone. It leaves an object
// of another owner with that name alone. Every EgressTarget of the namespace owns the anchor.
func (w *Writer) remove(
	ctx context.Context, kind string, egressTarget *v1alpha1.EgressTarget, name string,
) (gone bool, err error) {
	namespace := egressTarget.Namespace
	object, err := w.Read(ctx, kind, namespace, name)
	if err != nil || object == nil || !ours(egressTarget, object) {
		return err == nil, err
	}
	log.FromContext(ctx).Info("deleting", "object", kind+" "+name)
	w.repairs.forget(kind, namespace, name)
	err = w.Client.Delete(ctx, object, client.Preconditions{UID: new(object.GetUID())})
	if absent.Ignore(err) != nil {
		return false, fmt.Errorf("delete the %s %s/%s: %w", kind, namespace, name, err)
	}
	object, err = w.Read(ctx, kind, namespace, name)
	return object == nil && err == nil, err
}
