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

// Writer writes and removes generated objects. NewWriter makes one.
type Writer struct {
	// Cached returns what the cache holds of an Istio object, nil if there is none.
	Cached func(ctx context.Context, kind, namespace, name string) (*unstructured.Unstructured, error)
	// Live asks the API server.
	Live client.Reader
	// Client writes as the controller.
	Client client.Client

	repairs *repairs
	// anchors lets one write the anchor of a namespace at a time, by the name of the namespace.
	anchors keymutex.KeyMutex
}

// NewWriter returns a Writer with the fields of w.
func NewWriter(w Writer) *Writer {
	w.repairs = newRepairs()
	w.anchors = keymutex.NewHashed(0)
	return &w
}

// Repairs is the metric that counts what was put back after somebody else had changed or deleted it.
func (w *Writer) Repairs() prometheus.Collector { return w.repairs.counter }

// Read returns what the API server has of an Istio object, nil if there is none.
func (w *Writer) Read(ctx context.Context, kind, namespace, name string) (*unstructured.Unstructured, error) {
	object := mesh.NewUnstructured(kind)
	if there, err := absent.Read(ctx, w.Live, kind, namespace, name, object); err != nil || !there {
		return nil, err
	}
	return object, nil
}

// ensureAll writes objects in their order, and stops at the first error, so that none is written before one that it
// needs.
func (w *Writer) ensureAll(ctx context.Context, egressTarget *v1alpha1.EgressTarget, objects []*unstructured.Unstructured) (taken []string, err error) {
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

// ensure makes the object in the cluster what desired says, and writes nothing if it is. It returns false, and touches
// nothing, if an object that is not the EgressTarget's has the name. The anchor is that of any EgressTarget.
func (w *Writer) ensure(ctx context.Context, egressTarget *v1alpha1.EgressTarget, desired *unstructured.Unstructured) (free bool, err error) {
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
		// Without force, so that an object which somebody else created a moment ago is a conflict.
		return true, w.apply(ctx, desired.DeepCopy(), desired)
	}
	// Bound to what was read, so that an object that was changed or replaced since is a conflict.
	bound := desired.DeepCopy()
	bound.SetUID(present.GetUID())
	bound.SetResourceVersion(present.GetResourceVersion())
	return true, w.apply(ctx, bound, desired, client.ForceOwnership)
}

// apply sends object by server-side apply. That leaves what other managers added: in a spec a field more can undo what
// the others say, as spec.gateways takes a VirtualService off the sidecars, and a label istio.io/rev makes Istio ignore
// the object. So the object is replaced if the answer has more than desired.
func (w *Writer) apply(ctx context.Context, object, desired *unstructured.Unstructured, options ...client.ApplyOption) error {
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
