package apply

import (
	"context"
	"fmt"
	"maps"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/keymutex"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/mesh"
)

// Writer writes and deletes generated objects. Use NewWriter to create one.
type Writer struct {
	// Cached returns an Istio object from the cache, or nil if it doesn't exist.
	Cached func(ctx context.Context, kind, namespace, name string) (*unstructured.Unstructured, error)
	// Live reads from the API server, without the cache.
	Live client.Reader
	// Client writes to the API server.
	Client client.Client

	repairs *repairs
	// anchors has a lock for each namespace, so that one goroutine at a time writes its anchor.
	anchors keymutex.KeyMutex
}

// NewWriter returns a Writer with the fields of w.
func NewWriter(w Writer) *Writer {
	w.repairs = newRepairs()
	w.anchors = keymutex.NewHashed(0)
	return &w
}

// Repairs returns the metric that counts restored objects that another client had changed or
// deleted.
func (w *Writer) Repairs() prometheus.Collector { return w.repairs.counter }

// Read returns an Istio object from the API server, or nil if it doesn't exist.
func (w *Writer) Read(ctx context.Context, kind, namespace, name string) (*unstructured.Unstructured, error) {
	object := mesh.NewUnstructured(kind)
	if there, err := absent.Read(ctx, w.Live, kind, namespace, name, object); err != nil || !there {
		return nil, err
	}
	return object, nil
}

// ensureAll writes objects in order, and stops at the first error, so that no object is written
// before one that it needs.
func (w *Writer) ensureAll(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, objects []*unstructured.Unstructured,
) (taken []string, err error) {
	for _, object := range objects {
		free, err := w.ensure(ctx, egressTarget, object)
		if err != nil {
			return taken, fmt.Errorf("write the %s %s: %w", object.GetKind(), object.GetName(), err)
		}
		if !free {
			taken = append(taken, object.GetKind()+" "+object.GetName())
		}
	}
	return taken, nil
}

// ensure writes desired unless the object in the cluster is in sync. If an object that the
// EgressTarget does not own has the name, it returns false and writes nothing. Any EgressTarget
// owns the anchor.
func (w *Writer) ensure(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, desired *unstructured.Unstructured,
) (free bool, err error) {
	present, err := w.Cached(ctx, desired.GetKind(), desired.GetNamespace(), desired.GetName())
	if err != nil {
		return false, err
	}
	return w.write(ctx, egressTarget, present, desired)
}

// write is ensure for an object that was read: present is nil if there is none.
func (w *Writer) write(
	ctx context.Context, egressTarget *v1alpha1.EgressTarget, present, desired *unstructured.Unstructured,
) (free bool, err error) {
	switch {
	case present != nil && !ours(egressTarget, present):
		return false, nil
	case present != nil && AsDesired(present, desired):
		return true, nil
	}
	if present == nil {
		// Without force, an object that another client created in the meantime is a conflict.
		return true, w.apply(ctx, desired.DeepCopy(), desired)
	}
	// With the UID and resource version, an object that was changed or replaced in the meantime is a
	// conflict.
	bound := desired.DeepCopy()
	bound.SetUID(present.GetUID())
	bound.SetResourceVersion(present.GetResourceVersion())
	return true, w.apply(ctx, bound, desired, client.ForceOwnership)
}

// apply writes object with server-side apply, which preserves additions by other managers. An
// additional field in the spec can disable the object: spec.gateways detaches a VirtualService from
// the sidecars. The label istio.io/rev makes Istio ignore it. So if the response has more than
// desired, apply replaces the object.
func (w *Writer) apply(
	ctx context.Context, object, desired *unstructured.Unstructured, options ...client.ApplyOption,
) error {
	log.FromContext(ctx).Info("writing", "object", desired.GetKind()+" "+desired.GetName())
	if err := w.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), options...); err != nil {
		return err
	}
	if !equality.Semantic.DeepEqual(object.Object["spec"], desired.Object["spec"]) || markedForIstio(object) {
		object.Object["spec"] = desired.DeepCopy().Object["spec"]
		object.SetLabels(withoutIstioKeys(object.GetLabels()))
		object.SetAnnotations(withoutIstioKeys(object.GetAnnotations()))
		if err := w.Client.Update(ctx, object); err != nil {
			return err
		}
	}
	repaired, err := w.repairs.written(desired, object)
	if err != nil {
		return err
	}
	if repaired {
		log.FromContext(ctx).Info("restored an object that another client changed or deleted",
			"object", desired.GetKind()+" "+desired.GetName())
	}
	return nil
}

// markedForIstio reports whether an object has a label or annotation that Istio reads. Generated
// objects have none.
func markedForIstio(object metav1.Object) bool {
	return len(withoutIstioKeys(object.GetLabels())) < len(object.GetLabels()) ||
		len(withoutIstioKeys(object.GetAnnotations())) < len(object.GetAnnotations())
}

func withoutIstioKeys(texts map[string]string) map[string]string {
	kept := maps.Clone(texts)
	maps.DeleteFunc(kept, func(key, _ string) bool { return mesh.ReadByIstio(key) })
	return kept
}
