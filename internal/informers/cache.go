package informers

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"

	"istio.io/api/label"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/policy/lookup"
)

// Cache reads from a cache with Options.
type Cache struct {
	client.Reader

	Pods *Pods
	// Sinkhole are the ranges of the sinkhole addresses.
	Sinkhole egress.Sinkhole

	from cache.Cache
	// missing are the Istio kinds that the API server doesn't serve.
	missing *atomic.Pointer[[]string]
}

// NewCache adds the indexes and informers of Pods and Namespaces to a cache with Options for the
// same sinkhole.
// AddIstio adds Istio's kinds. It does not wait for the cache to sync. It fails if the CRD of
// EgressTarget is not installed.
func NewCache(ctx context.Context, from cache.Cache, sinkhole egress.Sinkhole) (Cache, error) {
	if err := addIndexes(ctx, from, sinkhole); err != nil {
		return Cache{}, err
	}
	pods, err := watchPods(ctx, from)
	if err != nil {
		return Cache{}, err
	}
	// The controllers request it only after the election. The metrics may need it before.
	if _, err := from.GetInformer(ctx, lookup.NamespaceMetadata(), cache.BlockUntilSynced(false)); err != nil {
		return Cache{}, fmt.Errorf("read Namespaces: %w", err)
	}
	return Cache{Reader: from, Pods: pods, Sinkhole: sinkhole, from: from, missing: &atomic.Pointer[[]string]{}}, nil
}

// AddIstio adds informers of Istio's kinds to the cache. If the cache is running, it waits until
// they are synced.
func (c Cache) AddIstio(ctx context.Context) error {
	if err := addIstioIndexes(ctx, c.from, c.Sinkhole); err != nil {
		return err
	}
	for _, kind := range Kinds() {
		if _, err := c.from.GetInformer(ctx, mesh.NewUnstructured(kind)); err != nil {
			return fmt.Errorf("read the objects of kind %s: %w", kind, err)
		}
	}
	c.SetMissing(nil)
	return nil
}

// SetMissing sets the Istio kinds that the API server doesn't serve.
func (c Cache) SetMissing(kinds []string) { c.missing.Store(&kinds) }

// Missing returns the Istio kinds that the API server doesn't serve. See MissingKinds.
func (c Cache) Missing() []string {
	if c.missing == nil {
		return nil
	}
	if kinds := c.missing.Load(); kinds != nil {
		return *kinds
	}
	return nil
}

// Others returns the objects that can conflict with those of t: Istio objects that claim its hosts
// or address, objects with the names of ours, Sidecars that may apply to its Pods, and Services.
// pods are the Pods that ask for t. The caller sets the mesh configuration.
func (c Cache) Others(ctx context.Context, t egress.Target, pods []*Pod, rootNamespace string) (mesh.Others, error) {
	others := mesh.Others{Revisions: revisions(pods), RootNamespace: rootNamespace}
	var err error
	if others.Services, err = c.services(ctx, t); err != nil {
		return others, err
	}
	own := egress.ObjectName(t.Host)
	others.VirtualServices, err = claiming[networkingv1.VirtualService](ctx, c, mesh.KindVirtualService, t, own)
	if err != nil {
		return others, err
	}
	others.DestinationRules, err = claiming[networkingv1.DestinationRule](ctx, c, mesh.KindDestinationRule, t, own)
	if err != nil {
		return others, err
	}
	others.ServiceEntries, err = claiming[networkingv1.ServiceEntry](
		ctx, c, mesh.KindServiceEntry, t, own, egress.ListenerName(t.Host), egress.AnchorName)
	if err != nil {
		return others, err
	}
	namespaces := []string{t.Namespace}
	if rootNamespace != t.Namespace {
		namespaces = append(namespaces, rootNamespace)
	}
	for _, namespace := range namespaces {
		for sidecar, err := range c.istioObjects(ctx, mesh.KindSidecar, client.InNamespace(namespace)) {
			if err != nil {
				return others, fmt.Errorf("list the Sidecars of %s: %w", namespace, err)
			}
			others.Sidecars = append(others.Sidecars, typed[networkingv1.Sidecar](ctx, sidecar)...)
		}
	}
	return others, nil
}

// revisions returns the revisions of the control planes that serve the Pods, from the annotation of
// Istio's injector. It returns nil if a Pod lacks that annotation.
func revisions(pods []*Pod) []string {
	var found []string
	for _, pod := range pods {
		revision := pod.GetAnnotations()[label.IoIstioRev.Name]
		if revision == "" {
			return nil
		}
		found = append(found, revision)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// claiming returns the objects of kind whose claims concern t, and those of its namespace with one
// of names. names must include the name of the target's own object. See claimsToFind.
func claiming[T any](ctx context.Context, c Cache, kind string, t egress.Target, names ...string) ([]*T, error) {
	found := map[types.NamespacedName]*unstructured.Unstructured{}
	for _, concern := range concernsOf(t) {
		for object, err := range c.istioObjects(ctx, kind, client.MatchingFields{indexClaim: concern}) {
			if err != nil {
				return nil, fmt.Errorf("list the objects of kind %s for %s: %w", kind, concern, err)
			}
			if object.GetNamespace() == t.Namespace || ReachesOthers(object) {
				found[client.ObjectKeyFromObject(object)] = object
			}
		}
	}
	for _, name := range names {
		object, err := c.IstioObject(ctx, kind, t.Namespace, name)
		if err != nil {
			return nil, err
		}
		if object != nil {
			found[client.ObjectKeyFromObject(object)] = object
		}
	}
	objects := make([]*T, 0, len(found))
	for _, object := range found {
		objects = append(objects, typed[T](ctx, object)...)
	}
	return objects, nil
}

// IstioObject returns an object from the cache, or nil if it doesn't exist.
func (c Cache) IstioObject(ctx context.Context, kind, namespace, name string) (*unstructured.Unstructured, error) {
	object := mesh.NewUnstructured(kind)
	if there, err := absent.Read(ctx, c, kind, namespace, name, object); err != nil || !there {
		return nil, err
	}
	return object, nil
}

// istioObjects yields the objects of a kind from the cache. They share its memory, so they must not
// be changed.
func (c Cache) istioObjects(
	ctx context.Context, kind string, options ...client.ListOption,
) iter.Seq2[*unstructured.Unstructured, error] {
	return func(yield func(*unstructured.Unstructured, error) bool) {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(mesh.GroupVersion().WithKind(kind + "List"))
		if err := c.List(ctx, list, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
			yield(nil, err)
			return
		}
		for i := range list.Items {
			if !yield(&list.Items[i], nil) {
				return
			}
		}
	}
}

// typed converts an Istio object to the type T. If that fails, it logs the error and returns
// nothing: a foreign object, for example of a newer Istio, must not prevent programming ours.
func typed[T any](ctx context.Context, object *unstructured.Unstructured) []*T {
	converted, err := mesh.Typed[T](object)
	if err != nil {
		log.FromContext(ctx).Error(err, "an Istio object can't be checked for conflicts")
		return nil
	}
	return []*T{converted}
}
