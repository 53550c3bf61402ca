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

// SidecarReconciler records an event for each Pod that has a target but no sidecar. The calls of
// such a Pod end at the sinkhole. A request is a Pod. A running controller records one event for
// each Pod. After a restart it records another, which Kubernetes adds to the count of the first.
type SidecarReconciler struct {
	pods   *informers.Pods
	events events.EventRecorder

	mutex    sync.Mutex
	reported map[types.NamespacedName]types.UID
}

// Reconcile checks one Pod.
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
		note := "the Pod has a target in " + egress.AnnotationTarget + " but no container " + egress.ProxyContainer +
			", so its calls are dropped: the sinkhole address is not routed; enable sidecar injection for the namespace " +
			"(istio-injection: enabled, or istio.io/rev) and recreate the Pod"
		r.events.Eventf(&corev1.Pod{ObjectMeta: pod.ObjectMeta}, nil,
			corev1.EventTypeWarning, reasonNoSidecar, "FindSidecar", "%s", note)
	}
	return reconcile.Result{}, nil
}

// first reports whether the Pod was not reported yet, and marks it as reported.
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

// withoutSidecar accepts Pods without a sidecar, so that the queue doesn't contain every Pod of the
// cluster after a start. A Pod never gets a sidecar later.
func withoutSidecar(object client.Object) bool {
	pod, ok := object.(*informers.Pod)
	return ok && !pod.HasSidecar()
}

// lacksSidecar reports whether an injected Pod that still runs has no sidecar. Istio injects the
// sidecar only at admission, so there is nothing to wait for.
func lacksSidecar(pod *informers.Pod) bool {
	return pod.GetLabels()[egress.LabelInjected] == egress.LabelValue && pod.DeletionTimestamp.IsZero() && !pod.Ended() &&
		!pod.HasSidecar()
}
