package controller

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"istio.io/api/label"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/target"
)

// others reads from the cache the objects that may stand in the way of those of t, for which pods ask: Istio objects that
// claim its hosts or address, those that have the names of ours, the Sidecars that may apply to its Pods, and Services.
func (r *EgressTargetReconciler) others(ctx context.Context, t target.Target, pods []*pod) (mesh.Others, error) {
	found := mesh.Others{Revisions: revisions(pods), RootNamespace: r.rootNamespace, Mesh: r.meshConfig()}
	var err error
	if found.Services, err = r.services(ctx, t); err != nil {
		return found, err
	}
	if found.VirtualServices, err = claiming[networkingv1.VirtualService](ctx, r.cache, mesh.KindVirtualService, t, target.ObjectName(t.Host)); err != nil {
		return found, err
	}
	if found.DestinationRules, err = claiming[networkingv1.DestinationRule](ctx, r.cache, mesh.KindDestinationRule, t, target.ObjectName(t.Host)); err != nil {
		return found, err
	}
	if found.ServiceEntries, err = claiming[networkingv1.ServiceEntry](ctx, r.cache, mesh.KindServiceEntry, t,
		target.ObjectName(t.Host), target.ListenerName(t.Host), target.AnchorName); err != nil {
		return found, err
	}
	namespaces := []string{t.Namespace}
	if r.rootNamespace != t.Namespace {
		namespaces = append(namespaces, r.rootNamespace)
	}
	for _, namespace := range namespaces {
		for sidecar, err := range cachedIstioObjects(ctx, r.cache, mesh.KindSidecar, client.InNamespace(namespace)) {
			if err != nil {
				return found, fmt.Errorf("list the Sidecars of %s: %w", namespace, err)
			}
			found.Sidecars = append(found.Sidecars, readable[networkingv1.Sidecar](ctx, sidecar)...)
		}
	}
	return found, nil
}

// revisions returns the revisions of the control planes that serve Pods, as Istio's injector writes them onto each, or
// nil when one of the Pods doesn't say.
func revisions(pods []*pod) []string {
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

// claiming returns the objects of kind that claim what concerns t, and those of its namespace with one of names. The name of the host's own object has to be among them:
// see claimsToFind.
func claiming[T any](ctx context.Context, cache client.Reader, kind string, t target.Target, names ...string) ([]*T, error) {
	found := map[types.NamespacedName]*unstructured.Unstructured{}
	for _, concern := range concernsOf(t) {
		for object, err := range cachedIstioObjects(ctx, cache, kind, client.MatchingFields{indexClaim: concern}) {
			if err != nil {
				return nil, fmt.Errorf("list the objects of kind %s for %s: %w", kind, concern, err)
			}
			if object.GetNamespace() == t.Namespace || reachesOthers(object) {
				found[client.ObjectKeyFromObject(object)] = object
			}
		}
	}
	for _, name := range names {
		object, err := cachedIstioObject(ctx, cache, kind, t.Namespace, name)
		if err != nil {
			return nil, err
		}
		if object != nil {
			found[client.ObjectKeyFromObject(object)] = object
		}
	}
	objects := make([]*T, 0, len(found))
	for _, object := range found {
		objects = append(objects, readable[T](ctx, object)...)
	}
	return objects, nil
}

// cachedIstioObject returns what the cache holds of an object, nil when there is none.
func cachedIstioObject(ctx context.Context, cache client.Reader, kind, namespace, name string) (*unstructured.Unstructured, error) {
	object := newPacked(kind)
	if there, err := absent.Read(ctx, cache, kind, namespace, name, object); err != nil || !there {
		return nil, err
	}
	return object.unpack()
}

// cachedIstioObjects are what the cache holds of the objects of a kind.
func cachedIstioObjects(ctx context.Context, cache client.Reader, kind string, options ...client.ListOption) iter.Seq2[*unstructured.Unstructured, error] {
	return func(yield func(*unstructured.Unstructured, error) bool) {
		list := newPackedList(kind)
		if err := cache.List(ctx, list, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
			yield(nil, err)
			return
		}
		for object := range list.objects() {
			if !yield(object.unpack()) {
				return
			}
		}
	}
}

// cachedIstioObject returns what the cache holds of an object, nil if there is none.
func (r *EgressTargetReconciler) cachedIstioObject(ctx context.Context, kind, namespace, name string) (*unstructured.Unstructured, error) {
	return cachedIstioObject(ctx, r.cache, kind, namespace, name)
}

// readable returns an Istio object as the type T, or nothing when that can't be: somebody else's object, of a newer Istio
// perhaps, must not keep ours from being looked after.
func readable[T any](ctx context.Context, object *unstructured.Unstructured) []*T {
	converted, err := mesh.Typed[T](object)
	if err != nil {
		log.FromContext(ctx).Error(err, "an Istio object can't be checked for conflicts")
		return nil
	}
	return []*T{converted}
}
