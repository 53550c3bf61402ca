package apply

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/target"
)

// AnchorOf returns the anchor of a namespace as it has to be, nil if no EgressTarget needs it. present is the anchor in the
// cluster, nil without one.
type AnchorOf func(ctx context.Context, present metav1.Object) (*networkingv1.ServiceEntry, error)

// ensureAnchor writes the anchor of the EgressTarget's namespace if it isn't as it has to be, and reports whether its name is
// free. All targets of the namespace write it, so one that the cache doesn't have yet is left alone: it would lose the ports
// of the others.
func (w *Writer) ensureAnchor(ctx context.Context, egressTarget *v1alpha1.EgressTarget, anchorOf AnchorOf) (free bool, err error) {
	namespace := egressTarget.Namespace
	defer w.lockAnchor(namespace)()
	present, err := w.Cached(ctx, mesh.KindServiceEntry, namespace, target.AnchorName)
	if err != nil {
		return false, err
	}
	if present == nil {
		made, err := w.Read(ctx, mesh.KindServiceEntry, namespace, target.AnchorName)
		if err != nil || made != nil {
			return false, cmp.Or(err, errCacheBehind)
		}
	}
	desired, err := desiredAnchor(ctx, present, anchorOf)
	if err != nil || desired == nil {
		return true, err
	}
	return w.write(ctx, egressTarget, present, desired)
}

// lockAnchor waits until no other worker writes the anchor of a namespace, and keeps others waiting until unlock is called.
func (w *Writer) lockAnchor(namespace string) (unlock func()) {
	w.anchors.LockKey(namespace)
	return func() { _ = w.anchors.UnlockKey(namespace) } // it fails for no key
}

func desiredAnchor(ctx context.Context, present *unstructured.Unstructured, anchorOf AnchorOf) (*unstructured.Unstructured, error) {
	var object metav1.Object
	if present != nil {
		object = present
	}
	anchor, err := anchorOf(ctx, object)
	if err != nil || anchor == nil {
		return nil, err
	}
	return mesh.Unstructured(anchor)
}

// releaseAnchor leaves the anchor with what the other targets of the namespace need of it, after the objects of the
// EgressTarget are gone, and removes it if none needs it. It returns false if the anchor is still there and should not be, as a
// finalizer of another owner holds it.
func (w *Writer) releaseAnchor(ctx context.Context, egressTarget *v1alpha1.EgressTarget, anchorOf AnchorOf) (done bool, err error) {
	defer w.lockAnchor(egressTarget.Namespace)()
	present, err := w.Read(ctx, mesh.KindServiceEntry, egressTarget.Namespace, target.AnchorName)
	if err != nil || present == nil || !mesh.Owned(present) {
		return err == nil, err
	}
	desired, err := desiredAnchor(ctx, present, anchorOf)
	if err != nil {
		return false, err
	}
	if desired != nil {
		_, err = w.write(ctx, egressTarget, present, desired)
		return err == nil, err
	}
	// The last of several that are removed at once takes the anchor along: whoever sees objects of another here was not.
	if inUse, err := w.anchorInUse(ctx, egressTarget.Namespace); err != nil || inUse {
		return err == nil, err
	}
	return w.remove(ctx, mesh.KindServiceEntry, egressTarget, target.AnchorName)
}

// anchorInUse reports whether the namespace holds an object of any target.
func (w *Writer) anchorInUse(ctx context.Context, namespace string) (bool, error) {
	for _, kind := range mesh.HostKinds() {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(mesh.GroupVersion().WithKind(kind + "List"))
		ours := client.MatchingLabels{target.LabelManagedBy: target.ValueManagedBy}
		if err := w.Live.List(ctx, list, client.InNamespace(namespace), ours); err != nil {
			return false, fmt.Errorf("list the objects of kind %s in %s: %w", kind, namespace, err)
		}
		if slices.ContainsFunc(list.Items, isTargetObject) {
			return true, nil
		}
	}
	return false, nil
}

func isTargetObject(object unstructured.Unstructured) bool {
	isAnchor := object.GetKind() == mesh.KindServiceEntry && object.GetName() == target.AnchorName
	return mesh.Owned(&object) && !isAnchor
}
