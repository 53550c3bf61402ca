package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/workload"
)

// liveSource is the source of objects of a cluster.
const liveSource = "cluster"

// readLive returns the objects of the cluster that the rules need, as far as the user may read
// them.
func (f *checkFlags) readLive(ctx context.Context, workloads workload.Kinds) (checkInput, error) {
	c, err := f.connection.client(usersTimeout)
	if err != nil {
		return checkInput{}, err
	}
	return f.readFrom(ctx, c, workloads)
}

func (f *checkFlags) readFrom(ctx context.Context, c client.Client, workloads workload.Kinds) (checkInput, error) {
	reading := liveReading{client: c, input: checkInput{namespace: f.namespace}}
	namespaces := []string{f.namespace}
	if f.namespace != "" {
		reading.namespace(ctx, f.namespace)
		// Istio objects of the root namespace apply to all others.
		namespaces = append(namespaces, f.rootNamespace)
	} else {
		reading.list(ctx, schema.GroupKind{Kind: "Namespace"}, "")
	}
	for _, kind := range liveKinds(workloads) {
		for n, namespace := range slices.Compact(namespaces) {
			if n == 0 || kind.Group == mesh.GroupVersion().Group {
				reading.list(ctx, kind, namespace)
			}
		}
	}
	if reading.err != nil {
		return checkInput{}, reading.err
	}
	return reading.input, nil
}

// liveKinds returns the kinds that the rules look at.
func liveKinds(workloads workload.Kinds) []schema.GroupKind {
	istio := mesh.GroupVersion().Group
	kinds := []schema.GroupKind{
		{Kind: "Pod"}, {Kind: mesh.KindService}, {Kind: "Secret"}, {Kind: "ConfigMap"},
		{Group: v1alpha1.Group, Kind: v1alpha1.Kind},
		{Group: istio, Kind: mesh.KindServiceEntry}, {Group: istio, Kind: mesh.KindVirtualService},
		{Group: istio, Kind: mesh.KindDestinationRule}, {Group: istio, Kind: mesh.KindSidecar},
	}
	for _, resource := range slices.Sorted(maps.Keys(workloads)) {
		group := schema.ParseGroupResource(resource).Group
		kinds = append(kinds, schema.GroupKind{Group: group, Kind: workloads[resource].Kind})
	}
	return kinds
}

// liveReading collects the objects of a cluster.
type liveReading struct {
	client client.Client
	input  checkInput
	err    error
}

func (r *liveReading) namespace(ctx context.Context, name string) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"})
	err := r.client.Get(ctx, client.ObjectKey{Name: name}, object)
	if err == nil {
		r.add(object)
		return
	}
	r.note("the Namespace "+name, err)
}

// list adds the objects of a kind. It is not an error if the cluster lacks the kind.
func (r *liveReading) list(ctx context.Context, kind schema.GroupKind, namespace string) {
	if r.err != nil {
		return
	}
	mapping, err := r.client.RESTMapper().RESTMapping(kind)
	if meta.IsNoMatchError(err) {
		return
	}
	plural := strings.ToLower(kind.Kind)
	if err == nil {
		plural = mapping.Resource.Resource
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(mapping.GroupVersionKind.GroupVersion().WithKind(kind.Kind + "List"))
		err = listAll(ctx, r.client, list, plural, func(item client.Object) error {
			// Pods and workloads of a controller follow from another object.
			if object, ok := item.(*unstructured.Unstructured); ok &&
				(metav1.GetControllerOf(object) == nil || kind.Group == mesh.GroupVersion().Group) {
				r.add(object)
			}
			return nil
		}, client.InNamespace(namespace))
	}
	r.note("the "+plural, err)
}

func (r *liveReading) add(object *unstructured.Unstructured) {
	object.SetManagedFields(nil)
	r.input.documents = append(r.input.documents, manifests.Document{
		Source: liveSource, Number: len(r.input.documents) + 1, Object: object.Object,
	})
}

// note adds a note on a missing right. Any other error ends the command.
func (r *liveReading) note(what string, err error) {
	switch {
	case err == nil || r.err != nil:
	case apierrors.IsForbidden(err):
		r.input.notes = append(r.input.notes,
			fmt.Sprintf("Note: you may not read %s, so they are not checked: %v\n", what, err))
	default:
		r.err = fmt.Errorf("reading %s: %w", what, err)
	}
}
