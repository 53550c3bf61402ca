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
// other owners; those are left alone, and the others are written all the same.
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

// takenAnchor writes the anchor, and returns it if another owner has taken its name.
func (w *Writer) takenAnchor(ctx context.Context, egressTarget *v1alpha1.EgressTarget, anchorOf AnchorOf) (taken []string, err error) {
	free, err := w.ensureAnchor(ctx, egressTarget, anchorOf)
	if err != nil {
		return nil, fmt.Errorf("write the anchor: %w", err)
	}
	if !free {
		taken = append(taken, mesh.KindServiceEntry+" "+egress.AnchorName)
	}
	return taken, nil
}

// removeListener removes the listener of a target that shares its address, as it would take the
// calls of both. It fails also if the listener is held.
func (w *Writer) removeListener(ctx context.Context, egressTarget *v1alpha1.EgressTarget) error {
	name := egress.ListenerName(egressTarget.Name)
	present, err := w.Cached(ctx, mesh.KindServiceEntry, egressTarget.Namespace, name)
	if err != nil || present == nil {
		return err
	}
	gone, err := w.remove(ctx, mesh.KindServiceEntry, egressTarget, name)
	if err == nil && !gone {
		err = fmt.Errorf("another target has the same sinkhole address, but a finalizer of another owner holds the listener %s; remove the finalizer", name)
	}
	return err
}

// close writes the objects of a closed target: first of all the VirtualService, which stops calls
// by itself, so that nothing that fails comes before it; then the rest. It removes the listener if
// the address is shared, and the ServiceEntry, and writes the anchor. It goes on after an error,
// and returns all.
func (w *Writer) close(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, desired []*unstructured.Unstructured, addressShared bool, anchorOf AnchorOf,
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
		removeErr = fmt.Errorf("the target is closed, but a finalizer of another owner holds the ServiceEntry %s; remove the finalizer", name)
	}
	takenAnchor, anchorErr := w.takenAnchor(ctx, egressTarget, anchorOf)
	return append(taken, takenAnchor...), errors.Join(err, removeErr, anchorErr)
}

// RemoveAll removes the objects of an EgressTarget in the reverse order of their writing: the
// listener, the ServiceEntry, the DestinationRule, the VirtualService, and then of the anchor what
// no other target needs. Each is seen gone, by a live read, before the next is touched. It returns
// false if one is still there, as a finalizer of another owner holds it.
func (w *Writer) RemoveAll(ctx context.Context, egressTarget *v1alpha1.EgressTarget, anchorOf AnchorOf) (done bool, err error) {
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

// remove deletes an object of the EgressTarget and reports whether it is gone. An object of the
// same name with another owner is left alone; the anchor has every EgressTarget of the namespace
// for its owner.
func (w *Writer) remove(ctx context.Context, kind string, egressTarget *v1alpha1.EgressTarget, name string) (gone bool, err error) {
	namespace := egressTarget.Namespace
	object, err := w.Read(ctx, kind, namespace, name)
	if err != nil || object == nil || !ours(egressTarget, object) {
		return err == nil, err
	}
	log.FromContext(ctx).Info("removing", "object", kind+" "+name)
	w.repairs.forget(kind, namespace, name)
	err = w.Client.Delete(ctx, object, client.Preconditions{UID: new(object.GetUID())})
	if absent.Ignore(err) != nil {
		return false, fmt.Errorf("delete the %s %s/%s: %w", kind, namespace, name, err)
	}
	object, err = w.Read(ctx, kind, namespace, name)
	return object == nil && err == nil, err
}
