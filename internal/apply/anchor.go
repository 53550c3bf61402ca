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
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// AnchorOf returns the desired anchor of a namespace, or nil if no EgressTarget needs it. present
// is the anchor in the cluster, or nil.
type AnchorOf func(ctx context.Context, present metav1.Object) (*networkingv1.ServiceEntry, error)

// ensureAnchor writes the anchor of the EgressTarget's namespace if it is not in sync, and reports
// whether its name is free. All targets of the namespace write the anchor. If it exists but is not
// in the cache yet, the write is skipped, because it would remove the ports of the other targets.
func (w *Writer) ensureAnchor(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, anchorOf AnchorOf,
) (free bool, err error) {
	namespace := egressTarget.Namespace
	defer w.lockAnchor(namespace)()
	present, err := w.Cached(ctx, mesh.KindServiceEntry, namespace, egress.AnchorName)
	if err != nil {
		return false, err
	}
	if present == nil {
		made, err := w.Read(ctx, mesh.KindServiceEntry, namespace, egress.AnchorName)
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

// lockAnchor waits until no other worker writes the anchor of a namespace, and keeps others waiting
// until unlock is called.
func (w *Writer) lockAnchor(namespace string) (unlock func()) {
	w.anchors.LockKey(namespace)
	return func() { _ = w.anchors.UnlockKey(namespace) } // it fails for no key
}

func desiredAnchor(
	ctx context.Context, present *unstructured.Unstructured, anchorOf AnchorOf,
) (*unstructured.Unstructured, error) {
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

// releaseAnchor reduces the anchor to what the other targets of the namespace need, after the
// objects of the EgressTarget are deleted. It deletes the anchor if no target needs it. It returns
// false if a finalizer of another owner prevents that.
func (w *Writer) releaseAnchor(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, anchorOf AnchorOf,
) (done bool, err error) {
	defer w.lockAnchor(egressTarget.Namespace)()
	present, err := w.Read(ctx, mesh.KindServiceEntry, egressTarget.Namespace, egress.AnchorName)
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
	// If several targets are deleted at the same time, the last one deletes the anchor. A target that
	// still sees objects of another one is not the last.
	if inUse, err := w.anchorInUse(ctx, egressTarget.Namespace); err != nil || inUse {
		return err == nil, err
	}
	return w.remove(ctx, mesh.KindServiceEntry, egressTarget, egress.AnchorName)
}

// anchorInUse reports whether the namespace contains an object of any target.
func (w *Writer) anchorInUse(ctx context.Context, namespace string) (bool, error) {
	for _, kind := range mesh.HostKinds() {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(mesh.GroupVersion().WithKind(kind + "List"))
		ours := client.MatchingLabels{egress.LabelManagedBy: egress.ValueManagedBy}
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
	isAnchor := object.GetKind() == mesh.KindServiceEntry && object.GetName() == egress.AnchorName
	return mesh.Owned(&object) && !isAnchor
}
