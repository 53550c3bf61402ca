package plan

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
)

// MaxWorkloadEvents limits the workloads that get an event when a target changes. The event on the
// EgressTarget then has their number.
const MaxWorkloadEvents = 10

// WorkloadEvent is a warning on a workload about a target of its Pods.
type WorkloadEvent struct {
	// Workload is the owner of the Pods. Its UID can be empty.
	Workload metav1.OwnerReference
	Event
}

// Told has the workloads that know the problem of a target, and its reason.
type Told map[metav1.OwnerReference]string

// ToldBefore returns the Told of a target whose events are not remembered, after a start of the
// controller: all workloads know the problem that the status had before.
func (p Plan) ToldBefore() Told { return p.told(p.facts.EgressTarget.Status.Conditions) }

func (p Plan) told(conditions []metav1.Condition) Told {
	problem := problem(conditions)
	if problem == nil {
		return nil
	}
	told := Told{}
	for _, workload := range p.workloads("") {
		told[workload] = problem.Reason
	}
	return told
}

// WorkloadEvents returns the warnings on the workloads of the target's Pods for the change to
// status: one on each workload that doesn't know the reason why Ready is false yet, and one on each
// for other problems that begin. now is the Told for the next change.
func (p Plan) WorkloadEvents(status v1alpha1.EgressTargetStatus, told Told) (events []WorkloadEvent, now Told) {
	add := func(event Event, workloads []metav1.OwnerReference) {
		event.Note = fmt.Sprintf("target %s: %s", p.Target.Host, event.Note)
		for _, workload := range workloads[:min(len(workloads), MaxWorkloadEvents)] {
			events = append(events, WorkloadEvent{workload, event})
		}
	}
	if problem := problem(status.Conditions); problem != nil {
		event := Event{
			Type: corev1.EventTypeWarning, Reason: problem.Reason, Action: "CheckTarget", Note: problem.Message,
		}
		add(event, slices.DeleteFunc(p.workloads(""), func(workload metav1.OwnerReference) bool {
			return told[workload] == problem.Reason
		}))
	}
	before := p.facts.EgressTarget.Status
	for _, event := range slices.Concat(transitions(before.Conditions, status.Conditions, ofPods()),
		expiryEvents(p.Target, before.Credentials, status.Credentials),
		serverCAEvents(p.Target, before.Credentials, status.Credentials)) {
		if event.Type == corev1.EventTypeWarning {
			add(event, p.workloads(event.SecretName))
		}
	}
	return events, p.told(status.Conditions)
}

// problem returns the condition Ready if it is false, or nil. Workloads without a sidecar have an
// event of their own.
func problem(conditions []metav1.Condition) *metav1.Condition {
	ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionFalse || ready.Reason == reasonNoSidecar {
		return nil
	}
	return ready
}

// workloads returns the owners of the Pods that present a Secret, or of all Pods if secretName is
// empty. The owner of the oldest Pod is the first.
func (p Plan) workloads(secretName string) []metav1.OwnerReference {
	var found []metav1.OwnerReference
	seen := map[metav1.OwnerReference]bool{{}: true}
	for _, demand := range p.facts.Demands {
		if !seen[demand.Owner] && (secretName == "" || demand.SecretName == secretName) {
			seen[demand.Owner] = true
			found = append(found, demand.Owner)
		}
	}
	return found
}
