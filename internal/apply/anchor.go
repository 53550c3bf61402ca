package apply

import (
	"context"
	"fmt"
	"slices"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
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

// anchorOwnersDelay is how long an anchor keeps outdated owners after a write. Targets that come one soon after another
// would otherwise cost a write of the anchor each, only to be among its owners.
const anchorOwnersDelay = 2 * time.Second

// anchorToWrite returns the anchor of the namespace if it has to be written, and else when it has to be looked at again, 0
// if it is as it has to be.
func (w *Writer) anchorToWrite(
	ctx context.Context, namespace string, anchorOf AnchorOf,
) (anchor []*unstructured.Unstructured, again time.Duration, err error) {
	present, err := w.Cached(ctx, mesh.KindServiceEntry, namespace, target.AnchorName)
	if err != nil {
		return nil, 0, err
	}
	desired, err := desiredAnchor(ctx, present, anchorOf)
	if err != nil || desired == nil || present != nil && AsDesired(present, desired) {
		return nil, 0, err
	}
	if again = w.anchorDelay(present, desired); again > 0 {
		return nil, again, nil
	}
	return []*unstructured.Unstructured{desired}, 0, nil
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

// anchorDelay returns for how long the present anchor stays as it is though it isn't as desired; 0 if it has to be written
// now. One of its owners is there in any case, so it isn't collected as garbage.
func (w *Writer) anchorDelay(present, desired *unstructured.Unstructured) time.Duration {
	if present == nil || !equality.Semantic.DeepEqual(present.Object["spec"], desired.Object["spec"]) {
		return 0
	}
	remains := slices.ContainsFunc(present.GetOwnerReferences(), func(owner metav1.OwnerReference) bool {
		return slices.ContainsFunc(desired.GetOwnerReferences(), func(wanted metav1.OwnerReference) bool { return wanted.UID == owner.UID })
	})
	if !remains {
		return 0
	}
	return max(0, anchorOwnersDelay-w.Versions.Age(present.GetKind(), present, w.Clock.Now()))
}

// releaseAnchor leaves the anchor with what the other targets of the namespace need of it, after the objects of the
// EgressTarget are gone, and removes it if none needs it. It returns false if the anchor is still there and should not be, as a
// finalizer of another owner holds it.
func (w *Writer) releaseAnchor(ctx context.Context, egressTarget *v1alpha1.EgressTarget, anchorOf AnchorOf) (done bool, err error) {
	present, err := w.Read(ctx, mesh.KindServiceEntry, egressTarget.Namespace, target.AnchorName)
	if err != nil || present == nil || !mesh.Owned(present) {
		return err == nil, err
	}
	desired, err := desiredAnchor(ctx, present, anchorOf)
	if err != nil {
		return false, err
	}
	if desired != nil {
		_, err = w.Ensure(ctx, egressTarget, desired)
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
