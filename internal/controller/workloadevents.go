package controller

import (
	"cmp"
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/plan"
)

// queuedWorkloadEvents limits the events that wait for the owners to be read. client-go's recorder
// has the same limit, and also drops the rest.
const queuedWorkloadEvents = 1000

// workloadEvents records events on the workloads of Pods, where kubectl describe shows them. It
// selects events by UID, and the UID of a Deployment is not in the cache. So the leader reads the
// owners from the API server, outside of the reconcilers.
type workloadEvents struct {
	// live is nil if owners are not read. Then an event is on the direct owner of a Pod, or on the
	// Deployment without its UID.
	live   client.Reader
	events events.EventRecorder
	queue  chan workloadEvent
}

type workloadEvent struct {
	namespace string
	plan.WorkloadEvent
	// related is the EgressTarget, if any. The recorder merges events that differ only in the note.
	related *corev1.ObjectReference
}

func (e workloadEvent) relatedObject() runtime.Object {
	if e.related == nil {
		return nil
	}
	return e.related
}

func newWorkloadEvents(live client.Reader, recorder events.EventRecorder) *workloadEvents {
	return &workloadEvents{live: live, events: recorder, queue: make(chan workloadEvent, queuedWorkloadEvents)}
}

// add records an event soon. It doesn't wait.
func (w *workloadEvents) add(event workloadEvent) {
	select {
	case w.queue <- event:
	default:
	}
}

// NeedLeaderElection is part of manager.LeaderElectionRunnable.
func (w *workloadEvents) NeedLeaderElection() bool { return true }

// Start is part of manager.Runnable.
func (w *workloadEvents) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-w.queue:
			if regarding := w.top(ctx, event.namespace, event.Workload); regarding != nil {
				w.events.Eventf(regarding, event.relatedObject(), event.Type, event.Reason, event.Action, "%s",
					plan.Shorten(event.Note, plan.MaxEventNote))
			}
		}
	}
}

// top returns the topmost owner of the chain that starts with direct, or nil if direct no longer
// exists. The chain ends below a cluster-scoped owner and below one that can't be read. If direct
// can't be read, its UID can be empty.
func (w *workloadEvents) top(
	ctx context.Context, namespace string, direct metav1.OwnerReference,
) (top *corev1.ObjectReference) {
	for at, level := &direct, 0; at != nil && level < maxOwnerLevels; level++ {
		reference := &corev1.ObjectReference{
			APIVersion: at.APIVersion, Kind: at.Kind, Namespace: namespace, Name: at.Name, UID: at.UID,
		}
		if w.live == nil {
			return reference
		}
		var object metav1.PartialObjectMetadata
		object.SetGroupVersionKind(schema.FromAPIVersionAndKind(at.APIVersion, at.Kind))
		err := w.live.Get(ctx, types.NamespacedName{Namespace: namespace, Name: at.Name}, &object)
		switch {
		case absent.Object(err), err == nil && at.UID != "" && at.UID != object.UID:
			return top
		case err != nil:
			log.FromContext(ctx).V(1).Info("Can't read the owner of Pods", "owner", reference, "reason", err.Error())
			return cmp.Or(top, reference)
		case object.Namespace == "":
			return top
		}
		reference.UID = object.UID
		top, at = reference, metav1.GetControllerOf(&object)
	}
	return top
}
