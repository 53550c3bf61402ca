package plan

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
)

// Event is one event on an EgressTarget.
type Event struct {
	// Type is Normal or Warning.
	Type                 string
	Reason, Action, Note string
	// SecretName is the Secret that the event is about, or "". The event recorder merges events that
	// differ only in the note.
	SecretName string
}

// Events returns the events for the change from the current status to status, which Status
// returned.
func (p Plan) Events(status v1alpha1.EgressTargetStatus) []Event {
	before := p.facts.EgressTarget.Status
	events := transitions(before.Conditions, status.Conditions, ofTarget())
	events = append(events, expiryEvents(p.Target, before.Credentials, status.Credentials)...)
	events = append(events, serverCAEvents(p.Target, before.Credentials, status.Credentials)...)
	if len(events) == 0 {
		return nil // without a look at all Pods
	}
	if workloads := len(p.workloads("")); workloads > MaxWorkloadEvents {
		for at := range events {
			if events[at].Type == corev1.EventTypeWarning {
				events[at].Note += fmt.Sprintf(" (workloads with the target: %d; %d of them have an event)",
					workloads, MaxWorkloadEvents)
			}
		}
	}
	return events
}

// watched is a condition whose transitions are events.
type watched struct {
	condition, action string
	good              metav1.ConditionStatus
}

// ofPods are the conditions that Ready doesn't follow from, but that concern the Pods.
func ofPods() []watched {
	return []watched{
		{v1alpha1.ConditionRenewalAtRisk, "CheckCredential", metav1.ConditionFalse},
		{v1alpha1.ConditionServerCAAtRisk, "CheckCredential", metav1.ConditionFalse},
		{v1alpha1.ConditionRotationUnreliable, "CheckSidecars", metav1.ConditionFalse},
	}
}

// ofTarget are all conditions with events. Ready has none, because it follows from the others.
func ofTarget() []watched {
	return append([]watched{
		{v1alpha1.ConditionCredentialValid, "CheckCredential", metav1.ConditionTrue},
		{v1alpha1.ConditionProgrammed, "Program", metav1.ConditionTrue},
		{v1alpha1.ConditionConflicted, "FindConflicts", metav1.ConditionFalse},
		{v1alpha1.ConditionPodsOutdated, "ComparePods", metav1.ConditionFalse},
		{v1alpha1.ConditionCertificateIssued, "IssueCertificate", metav1.ConditionTrue},
	}, ofPods()...)
}

// transitions returns one event for each condition whose status or reason changed. A condition that
// is good from the start has none: a thousand new targets would cause thousands of events.
func transitions(old, updated []metav1.Condition, conditions []watched) []Event {
	var events []Event
	for _, kind := range conditions {
		before, now := meta.FindStatusCondition(old, kind.condition), meta.FindStatusCondition(updated, kind.condition)
		if now == nil || before != nil && before.Status == now.Status && before.Reason == now.Reason {
			continue
		}
		// expiryEvents and serverCAEvents return the events of certificates that expire soon.
		if now.Reason == reasonExpiresSoon || now.Reason == reasonServerCAExpiresSoon {
			continue
		}
		if before == nil && now.Status == kind.good && now.Reason != reasonLastGoodKept {
			continue
		}
		e := Event{Type: corev1.EventTypeNormal, Reason: now.Reason, Action: kind.action, Note: now.Message}
		if now.Status != kind.good || now.Reason == reasonLastGoodKept {
			e.Type = corev1.EventTypeWarning
		}
		events = append(events, e)
	}
	return events
}
