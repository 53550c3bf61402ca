package controller

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/informers"
)

// reasonNoSidecar is the reason of the event on a Pod that has a target and no sidecar.
const reasonNoSidecar = "NoSidecar"

// SidecarReconciler tells of Pods that have a target and no sidecar to reach it: their calls end at
// the sinkhole. A request is a Pod. Each Pod is told of once by a running controller; after a
// restart once more, which the events of the Pod then count.
type SidecarReconciler struct {
	pods   *informers.Pods
	events events.EventRecorder

	mutex    sync.Mutex
	reported map[types.NamespacedName]types.UID
}

// Reconcile looks at one Pod.
func (r *SidecarReconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	pod, err := r.pods.Get(ctx, request.NamespacedName)
	if err != nil {
		return reconcile.Result{}, err
	}
	if pod == nil {
		r.forget(request.NamespacedName)
		return reconcile.Result{}, nil
	}
	if lacksSidecar(pod) && r.first(request.NamespacedName, pod.UID) {
		r.events.Eventf(&corev1.Pod{ObjectMeta: pod.ObjectMeta}, nil, corev1.EventTypeWarning, reasonNoSidecar, "FindSidecar", "%s",
			"the Pod has a target in "+egress.AnnotationTarget+" and no container "+egress.ProxyContainer+
				", so its calls end at an address that nobody has; switch injection on for the namespace (istio-injection: enabled, or istio.io/rev) and create the Pod anew")
	}
	return reconcile.Result{}, nil
}

// first reports whether the Pod was not told of, and notes that it is now.
func (r *SidecarReconciler) first(name types.NamespacedName, uid types.UID) bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.reported[name] == uid {
		return false
	}
	r.reported[name] = uid
	return true
}

func (r *SidecarReconciler) forget(name types.NamespacedName) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	delete(r.reported, name)
}

// withoutSidecar keeps the queue from holding every Pod of the cluster once: a sidecar is there
// from the beginning or never.
func withoutSidecar(object client.Object) bool {
	pod, ok := object.(*informers.Pod)
	return ok && !pod.HasSidecar()
}

// lacksSidecar reports whether a injected Pod that still runs has no sidecar. Injection happens at
// admission or never, so there is nothing to wait for.
func lacksSidecar(pod *informers.Pod) bool {
	return pod.GetLabels()[egress.LabelInjected] == egress.LabelValue && pod.DeletionTimestamp.IsZero() && !pod.Ended() && !pod.HasSidecar()
}
