package informers

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/paging"
	"mtls.egress/webhook/internal/policy/lookup"
)

// Options returns the options of the cache that NewCache uses. sinkhole are the ranges of the
// sinkhole addresses. namespaceLabels are additional labels of Namespaces to keep. The cache
// contains:
//   - Pods with the label mtls.egress/injected: name, our labels, phase, whether there is a
//     sidecar, the owner, and the annotations that say what the Pod asks for and mounts
//   - Namespaces: the annotation with the allowed hosts, the labels for injection, namespaceLabels
//   - EgressTargets: of the managed fields, only whether a user wrote to an EgressTarget that the
//     controller created
//   - Services: the name, and the external addresses in the ranges of the sinkhole addresses
//   - ServiceEntries, VirtualServices, DestinationRules and Sidecars of all namespaces, without
//     managed fields, status, and annotations that Istio doesn't read. They include foreign ones,
//     because these can win over ours, hide ours or be hidden by ours, from any namespace that
//     exports them. VirtualServices that only bind gateways never affect a sidecar, so only their
//     metadata is kept.
//
// The cache never contains Secrets. A read of a kind without an informer fails instead of starting
// to list and watch it (ReaderFailOnMissingInformer). Other readers of the same cache must
// therefore request their informers themselves.
func Options(sinkhole egress.Sinkhole, namespaceLabels ...string) cache.Options {
	byObject := map[client.Object]cache.ByObject{
		&corev1.Pod{}: {
			Label:     labels.SelectorFromSet(labels.Set{egress.LabelInjected: egress.LabelValue}),
			Transform: podTransform(sinkhole),
		},
		&v1alpha1.EgressTarget{}:   {Transform: egressTargetTransform()},
		lookup.NamespaceMetadata(): lookup.CacheOptions(namespaceLabels...),
		&corev1.Service{}:          {Transform: serviceTransform(sinkhole)},
	}
	for _, kind := range Kinds() {
		byObject[mesh.NewUnstructured(kind)] = cache.ByObject{Transform: transformIstioObject}
	}
	return cache.Options{ByObject: byObject, ReaderFailOnMissingInformer: true, NewInformer: paging.NewInformer}
}

// egressTargetTransform returns the transform that drops fields of EgressTargets that the
// controller doesn't read.
func egressTargetTransform() toolscache.TransformFunc {
	compact := egress.Compactor()
	return func(object any) (any, error) {
		if egressTarget, ok := object.(*v1alpha1.EgressTarget); ok {
			return compact(egressTarget), nil
		}
		return object, nil
	}
}

// transformIstioObject drops the fields of an Istio object that are not needed to find conflicts
// and drift.
func transformIstioObject(object any) (any, error) {
	kept, ok := object.(*unstructured.Unstructured)
	if !ok {
		return object, nil
	}
	kept.SetManagedFields(nil)
	annotations := kept.GetAnnotations()
	maps.DeleteFunc(annotations, func(key, _ string) bool { return !mesh.ReadByIstio(key) })
	if len(annotations) == 0 {
		annotations = nil
	}
	kept.SetAnnotations(annotations)
	delete(kept.Object, "status")
	if kept.GetKind() == mesh.KindVirtualService && !mesh.Owned(kept) && !reachesSidecars(kept) {
		delete(kept.Object, "spec")
	}
	return kept, nil
}

// reachesSidecars reports whether a VirtualService applies to sidecars: it names the gateway mesh,
// or no gateway.
// https://istio.io/latest/docs/reference/config/networking/virtual-service/#VirtualService-gateways
func reachesSidecars(virtualService *unstructured.Unstructured) bool {
	gateways, found, err := unstructured.NestedStringSlice(virtualService.Object, "spec", "gateways")
	return err != nil || !found || len(gateways) == 0 || slices.Contains(gateways, "mesh")
}
