package controller

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
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/paging"
	"mtls.egress/webhook/internal/policy/lookup"
	"mtls.egress/webhook/internal/target"
)

// CacheOptions returns what the manager's cache may hold; the manager that runs Setup must be made with them:
//   - Pods with the label mtls.egress/realised only, and of them the name, our labels, the phase, whether they have a
//     sidecar and the annotations that say what they ask for and mount;
//   - Namespaces, of them the annotation that says which hosts may be reached;
//   - EgressTargets, whole but for their managed fields, of which is left whether somebody else wrote to one of ours;
//   - Services, of them the name and the external addresses that a sinkhole address may be among;
//   - ServiceEntries, VirtualServices, DestinationRules and Sidecars of every namespace, without managed fields,
//     annotations that Istio doesn't read, and status. Other people's are there because one of them can win over ours, hide ours or be hidden by
//     ours from any namespace that exports it, and that has to be noticed when it happens, not when somebody looks.
//     VirtualServices that only bind gateways never concern a sidecar; only their metadata is kept.
//
// Secrets are never in it: reading a kind without an informer fails instead of starting to list and watch it
// (ReaderFailOnMissingInformer), so other readers of the same cache must ask for their informers themselves.
func CacheOptions() cache.Options {
	byObject := map[client.Object]cache.ByObject{
		&corev1.Pod{}: {
			Label:     labels.SelectorFromSet(labels.Set{target.LabelRealised: target.LabelValue}),
			Transform: podKeeper(),
		},
		&v1alpha1.EgressTarget{}:   {Transform: egressTargetKeeper()},
		lookup.NamespaceMetadata(): lookup.CacheOptions(),
		&corev1.Service{}:          {Transform: serviceKeeper()},
	}
	for _, kind := range append(mesh.HostKinds(), mesh.KindSidecar) {
		byObject[newPacked(kind)] = cache.ByObject{Transform: istioKeeper()}
	}
	return cache.Options{ByObject: byObject, ReaderFailOnMissingInformer: true, NewInformer: paging.NewInformer}
}

// egressTargetKeeper makes the EgressTargets small that come.
func egressTargetKeeper() toolscache.TransformFunc {
	compact := target.Compactor()
	return func(object any) (any, error) {
		if egressTarget, ok := object.(*v1alpha1.EgressTarget); ok {
			return compact(egressTarget), nil
		}
		return object, nil
	}
}

// istioKeeper leaves of an Istio object what conflicts and drift are found by.
func istioKeeper() toolscache.TransformFunc {
	// Of nearly every object of ours, as nobody changes it.
	ours := map[string]string{target.LabelManagedBy: target.ValueManagedBy}
	return func(object any) (any, error) {
		kept, ok := object.(packedObject)
		if !ok {
			return object, nil
		}
		if maps.Equal(kept.GetLabels(), ours) {
			kept.SetLabels(ours)
		}
		return keepIstioObject(kept)
	}
}

func keepIstioObject(kept packedObject) (any, error) {
	kept.SetManagedFields(nil)
	annotations := kept.GetAnnotations()
	maps.DeleteFunc(annotations, func(key, _ string) bool { return !mesh.ReadByIstio(key) })
	if len(annotations) == 0 {
		annotations = nil
	}
	kept.SetAnnotations(annotations)
	kept.SetNamespace(target.Once(kept.GetNamespace()))
	// A list that was read has room for more.
	owners := slices.Clone(kept.GetOwnerReferences())
	for i := range owners {
		owners[i].APIVersion, owners[i].Kind = target.Once(owners[i].APIVersion), target.Once(owners[i].Kind)
	}
	kept.SetOwnerReferences(owners)
	if virtualService, is := kept.(*packed[virtualServices]); is && !mesh.Owned(kept) {
		content, err := kept.unpack()
		if err != nil {
			return nil, err
		}
		if !reachesSidecars(content) {
			virtualService.Spec = nil
		}
	}
	return kept, nil
}

// reachesSidecars says whether a VirtualService speaks to sidecars: it names the gateway mesh, or none at all.
// https://istio.io/latest/docs/reference/config/networking/virtual-service/#VirtualService-gateways
func reachesSidecars(virtualService *unstructured.Unstructured) bool {
	gateways, found, err := unstructured.NestedStringSlice(virtualService.Object, "spec", "gateways")
	return err != nil || !found || len(gateways) == 0 || slices.Contains(gateways, "mesh")
}
