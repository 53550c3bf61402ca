package controller

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/informers"
	"mtls.egress/webhook/internal/mesh"
)

// podPause is the delay in which events of Pods are batched, for a host that has an EgressTarget.
// Otherwise a rollout of hundreds of Pods would cause as many reconciliations, and each one counts
// all Pods, reads the Secret and writes the status.
const podPause = time.Second

// podHandler queues the hosts that a Pod may affect. If the host has no EgressTarget yet, it queues
// it immediately, so that the first Pod doesn't wait, else after podPause.
func podHandler(cache client.Reader) handler.EventHandler {
	type requestQueue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	enqueue := func(ctx context.Context, queue requestQueue, pods ...client.Object) {
		for _, pod := range pods {
			for _, request := range podRequests(pod) {
				var known v1alpha1.EgressTarget
				if err := cache.Get(ctx, request.NamespacedName, &known, client.UnsafeDisableDeepCopy); err != nil {
					queue.Add(request)
					continue
				}
				queue.AddAfter(request, podPause)
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, queue requestQueue) {
			enqueue(ctx, queue, e.Object)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, queue requestQueue) {
			enqueue(ctx, queue, e.ObjectOld, e.ObjectNew)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, queue requestQueue) {
			enqueue(ctx, queue, e.Object)
		},
	}
}

// podRequests returns the hosts that a Pod may affect.
func podRequests(pod client.Object) []reconcile.Request {
	var requests []reconcile.Request
	for _, host := range informers.PodHosts(pod) {
		key := types.NamespacedName{Namespace: pod.GetNamespace(), Name: host}
		requests = append(requests, reconcile.Request{NamespacedName: key})
	}
	return requests
}

// requests maps changed objects to the EgressTargets that they may affect.
type requests struct {
	cache         informers.Cache
	rootNamespace string
}

// istio returns the EgressTargets that an Istio object may affect. In its namespace, these are the
// EgressTargets with an object of its name, or all for Sidecars. An object also affects the
// EgressTargets whose host it claims, in other namespaces too if it is exported. Our own objects
// never affect other namespaces.
func (r requests) istio(ctx context.Context, object client.Object) []reconcile.Request {
	content, ok := object.(*unstructured.Unstructured)
	if !ok {
		return nil
	}
	named := func(e *v1alpha1.EgressTarget) bool {
		return egress.ObjectName(e.Name) == content.GetName() || egress.ListenerName(e.Name) == content.GetName()
	}
	if content.GetKind() == mesh.KindSidecar {
		if content.GetNamespace() == r.rootNamespace {
			return r.of(ctx, every)
		}
		return r.of(ctx, every, client.InNamespace(content.GetNamespace()))
	}
	if content.GetKind() == mesh.KindServiceEntry && content.GetName() == egress.AnchorName {
		return r.anchor(ctx, content)
	}
	requests := r.of(ctx, named, client.InNamespace(content.GetNamespace()))
	for _, claim := range informers.ClaimsBeyondItsHost(content, r.cache.Sinkhole) {
		concerned := []client.ListOption{client.MatchingFields{informers.IndexConcern: claim}}
		if !informers.ReachesOthers(content) {
			concerned = append(concerned, client.InNamespace(content.GetNamespace()))
		}
		requests = append(requests, r.of(ctx, every, concerned...)...)
	}
	return requests
}

// anchor returns the EgressTargets of the anchor's namespace. An anchor of another owner conflicts
// with all of them. Our own anchor is fixed by the reconciliation of any one of them with our
// finalizer, so one is enough. If all were queued, many new EgressTargets would trigger each other.
func (r requests) anchor(ctx context.Context, anchor *unstructured.Unstructured) []reconcile.Request {
	inNamespace := client.InNamespace(anchor.GetNamespace())
	if mesh.Owned(anchor) {
		held := r.of(ctx, func(e *v1alpha1.EgressTarget) bool {
			return e.DeletionTimestamp.IsZero() && controllerutil.ContainsFinalizer(e, egress.Finalizer)
		}, inNamespace)
		if len(held) > 0 {
			byName := func(a, b reconcile.Request) int { return strings.Compare(a.Name, b.Name) }
			return []reconcile.Request{slices.MinFunc(held, byName)}
		}
	}
	return r.of(ctx, every, inNamespace)
}

// sharing returns the EgressTargets of the namespace that share the sinkhole address of
// object, or would if they did not avoid it, because they depend on its ports.
func (r requests) sharing(ctx context.Context, object client.Object) []reconcile.Request {
	possible := func(e *v1alpha1.EgressTarget) []netip.Addr {
		return egress.FromEgressTarget(object.GetNamespace(), e.GetName(), e, r.cache.Sinkhole).PossibleAddresses()
	}
	egressTarget, ok := object.(*v1alpha1.EgressTarget)
	if !ok {
		return nil
	}
	addresses := possible(egressTarget)
	return r.of(ctx, func(e *v1alpha1.EgressTarget) bool {
		return e.Name != egressTarget.Name && slices.ContainsFunc(possible(e), func(address netip.Addr) bool {
			return slices.Contains(addresses, address)
		})
	}, client.InNamespace(egressTarget.Namespace))
}

// namespace returns the EgressTargets of a Namespace, whose annotation says which hosts they may
// reach.
func (r requests) namespace(ctx context.Context, namespace client.Object) []reconcile.Request {
	return r.of(ctx, every, client.InNamespace(namespace.GetName()))
}

// all returns all EgressTargets, for a change that affects each of them.
func (r requests) all(ctx context.Context, _ client.Object) []reconcile.Request {
	return r.of(ctx, every)
}

func every(*v1alpha1.EgressTarget) bool { return true }

func (r requests) of(
	ctx context.Context, wanted func(*v1alpha1.EgressTarget) bool, options ...client.ListOption,
) []reconcile.Request {
	var list v1alpha1.EgressTargetList
	if err := r.cache.List(ctx, &list, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		log.FromContext(ctx).Error(err, "a change takes effect late, because the EgressTargets can't be listed")
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		if wanted(&list.Items[i]) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return requests
}

// changed returns a predicate that accepts updates with a relevant change, and all other events.
func changed(matters func(before, after client.Object) bool) predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return matters(e.ObjectOld, e.ObjectNew) }}
}

// egressTargetChanged ignores changes of the status, which the controller writes, except for the
// condition Verified, on which Ready depends.
func egressTargetChanged(before, after client.Object) bool {
	return before.GetGeneration() != after.GetGeneration() ||
		before.GetDeletionTimestamp().IsZero() != after.GetDeletionTimestamp().IsZero() ||
		!equality.Semantic.DeepEqual(before.GetLabels(), after.GetLabels()) ||
		!equality.Semantic.DeepEqual(before.GetAnnotations(), after.GetAnnotations()) ||
		!equality.Semantic.DeepEqual(before.GetFinalizers(), after.GetFinalizers()) ||
		!equality.Semantic.DeepEqual(verifiedOf(before), verifiedOf(after))
}

// verifiedOf returns the condition Verified of an EgressTarget, or nil.
func verifiedOf(object client.Object) *metav1.Condition {
	egressTarget, ok := object.(*v1alpha1.EgressTarget)
	if !ok {
		return nil
	}
	return meta.FindStatusCondition(egressTarget.Status.Conditions, v1alpha1.ConditionVerified)
}

// annotationsChanged is for Namespaces. The cache has only one of their annotations.
func annotationsChanged(before, after client.Object) bool {
	return !equality.Semantic.DeepEqual(before.GetAnnotations(), after.GetAnnotations())
}

// credentialsChanged accepts changes of an EgressTarget that may require a handshake: its spec, and
// the credentials in use.
func credentialsChanged(before, after client.Object) bool {
	was, ok := before.(*v1alpha1.EgressTarget)
	is, ok2 := after.(*v1alpha1.EgressTarget)
	return !ok || !ok2 || was.Generation != is.Generation ||
		was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero() ||
		!equality.Semantic.DeepEqual(was.Status.Credentials, is.Status.Credentials)
}

// podChanged compares the cached fields. A change of phase counts, because a Pod that leaves
// Pending shows that its Secrets exist.
func podChanged(before, after client.Object) bool {
	was, ok := before.(*informers.Pod)
	is, ok2 := after.(*informers.Pod)
	return !ok || !ok2 || was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero() || !was.SameContent(is)
}

// istioObjectChanged ignores changes of the status, which Istio writes.
func istioObjectChanged(before, after client.Object) bool {
	return before.GetGeneration() != after.GetGeneration() ||
		before.GetDeletionTimestamp().IsZero() != after.GetDeletionTimestamp().IsZero() ||
		!equality.Semantic.DeepEqual(before.GetLabels(), after.GetLabels()) ||
		!equality.Semantic.DeepEqual(before.GetAnnotations(), after.GetAnnotations()) ||
		!equality.Semantic.DeepEqual(before.GetOwnerReferences(), after.GetOwnerReferences())
}

// service returns the EgressTargets that a Service may affect: all if it has an address in the
// range of the sinkhole addresses, else those whose host is its short name.
func (r requests) service(ctx context.Context, object client.Object) []reconcile.Request {
	if informers.ClaimsSinkhole(object) {
		return r.of(ctx, every)
	}
	return r.of(ctx, every, client.MatchingFields{informers.IndexConcern: object.GetName() + "." + object.GetNamespace()})
}

// serviceChanged accepts changes of the cached fields of Services.
func serviceChanged(before, after client.Object) bool {
	was, ok := before.(*corev1.Service)
	is, ok2 := after.(*corev1.Service)
	return !ok || !ok2 || !equality.Semantic.DeepEqual(was.Spec.ExternalIPs, is.Spec.ExternalIPs)
}
