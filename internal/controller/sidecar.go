package controller

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/informers"
	"mtls.egress/webhook/internal/plan"
)

// reasonNoSidecar is the reason of the event on a Pod that has a target and no sidecar.
const reasonNoSidecar = "NoSidecar"

// SidecarReconciler records an event for each Pod that has a target but no sidecar, and one for its
// owner. The calls of such a Pod end at the sinkhole. A request is a Pod. A running controller
// records one event for each Pod, and for each owner one with its first Pod. After a restart it
// records another, which Kubernetes adds to the count of the first.
type SidecarReconciler struct {
	pods      *informers.Pods
	events    events.EventRecorder
	workloads *workloadEvents

	mutex    sync.Mutex
	reported map[types.NamespacedName]reportedPod
	// owners counts the reported Pods of each owner.
	owners map[podsOwner]int
}

// reportedPod is a Pod with an event.
type reportedPod struct {
	uid   types.UID
	owner podsOwner
}

type podsOwner struct {
	namespace string
	metav1.OwnerReference
}

func newSidecarReconciler(
	pods *informers.Pods, recorder events.EventRecorder, workloads *workloadEvents,
) *SidecarReconciler {
	return &SidecarReconciler{
		pods: pods, events: recorder, workloads: workloads,
		reported: map[types.NamespacedName]reportedPod{}, owners: map[podsOwner]int{},
	}
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
	if !lacksSidecar(pod) {
		return reconcile.Result{}, nil
	}
	first, firstOfOwner := r.first(pod)
	event := plan.Event{Type: corev1.EventTypeWarning, Reason: reasonNoSidecar, Action: "FindSidecar"}
	const consequence = " a target in " + egress.AnnotationTarget + " but no container " + egress.ProxyContainer +
		", so its calls are dropped: the sinkhole address is not routed; enable sidecar injection for the namespace " +
		"(istio-injection: enabled, or istio.io/rev) and "
	if first {
		r.events.Eventf(&corev1.Pod{ObjectMeta: pod.ObjectMeta}, nil,
			event.Type, event.Reason, event.Action, "%s", "the Pod has"+consequence+"recreate the Pod")
	}
	if firstOfOwner {
		event.Note = "the Pod " + pod.Name + " has" + consequence + "restart this workload"
		r.workloads.add(workloadEvent{
			namespace: pod.Namespace, WorkloadEvent: plan.WorkloadEvent{Workload: pod.Owner(), Event: event},
		})
	}
	return reconcile.Result{}, nil
}

// first reports whether the Pod was not reported yet, and whether no Pod of its owner was. It marks
// the Pod as reported.
func (r *SidecarReconciler) first(pod *informers.Pod) (first, firstOfOwner bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	name := client.ObjectKeyFromObject(pod)
	if r.reported[name].uid == pod.UID {
		return false, false
	}
	owner := podsOwner{pod.Namespace, pod.Owner()}
	firstOfOwner = r.owners[owner] == 0 && owner.OwnerReference != metav1.OwnerReference{}
	r.owners[owner]++
	r.drop(name)
	r.reported[name] = reportedPod{uid: pod.UID, owner: owner}
	return true, firstOfOwner
}

func (r *SidecarReconciler) forget(name types.NamespacedName) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.drop(name)
}

// drop removes a reported Pod.
func (r *SidecarReconciler) drop(name types.NamespacedName) {
	before, known := r.reported[name]
	if !known {
		return
	}
	delete(r.reported, name)
	if r.owners[before.owner]--; r.owners[before.owner] == 0 {
		delete(r.owners, before.owner)
	}
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
