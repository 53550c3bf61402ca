package controller

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/target"
)

// tearDown removes the objects of an EgressTarget in the reverse order of their writing: the listener, the
// ServiceEntry, the DestinationRule, the VirtualService, and the anchor when no other target of the namespace needs it. Each is
// seen gone, by a live read, before the next is touched. It returns false when one is still there, as a finalizer of
// another owner holds it.
func (r *EgressTargetReconciler) tearDown(ctx context.Context, egressTarget *v1alpha1.EgressTarget, siblings []v1alpha1.EgressTarget) (done bool, err error) {
	name := target.ObjectName(egressTarget.Name)
	for _, object := range []struct{ kind, name string }{
		{mesh.KindServiceEntry, target.ListenerName(egressTarget.Name)},
		{mesh.KindServiceEntry, name}, {mesh.KindDestinationRule, name}, {mesh.KindVirtualService, name},
	} {
		if gone, err := r.remove(ctx, object.kind, egressTarget, object.name); err != nil || !gone {
			return false, err
		}
	}
	anchor, err := liveIstioObject(ctx, r.live, mesh.KindServiceEntry, egressTarget.Namespace, target.AnchorName)
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
		_, err = r.ensure(ctx, egressTarget, desired)
		return err == nil, err
	}
	// The last of several that are torn down at once takes the anchor along: whoever sees objects of another here was not.
	if inUse, err := r.anchorInUse(ctx, egressTarget.Namespace); err != nil || inUse {
		return err == nil, err
	}
	return r.remove(ctx, mesh.KindServiceEntry, egressTarget, target.AnchorName)
}

// remove deletes an object of the EgressTarget and reports whether it is gone. An object of the same name with another
// owner is left alone; the anchor has every EgressTarget of the namespace for its owner.
func (r *EgressTargetReconciler) remove(ctx context.Context, kind string, egressTarget *v1alpha1.EgressTarget, name string) (gone bool, err error) {
	namespace := egressTarget.Namespace
	object, err := liveIstioObject(ctx, r.live, kind, namespace, name)
	if err != nil || object == nil || !ours(egressTarget, object) {
		return err == nil, err
	}
	log.FromContext(ctx).Info("removing", "object", kind+" "+name)
	r.repairs.forget(kind, namespace, name)
	err = r.client.Delete(ctx, object, client.Preconditions{UID: new(object.GetUID())})
	if absent.Ignore(err) != nil {
		return false, fmt.Errorf("delete the %s %s/%s: %w", kind, namespace, name, err)
	}
	object, err = liveIstioObject(ctx, r.live, kind, namespace, name)
	return object == nil && err == nil, err
}

// anchorInUse says whether the namespace holds an object of any target.
func (r *EgressTargetReconciler) anchorInUse(ctx context.Context, namespace string) (bool, error) {
	for _, kind := range hostKinds() {
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
