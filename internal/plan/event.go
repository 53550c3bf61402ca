package plan

import (
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
	// SecretName is the Secret that it is about, "" for none. Events that differ in nothing but the
	// note are taken for one.
	SecretName string
}

// Events returns what is to be told of the change to status, which Status returned, from the status
// before.
func (p Plan) Events(status v1alpha1.EgressTargetStatus) []Event {
	before := p.facts.EgressTarget.Status
	return append(transitions(before.Conditions, status.Conditions), expiryEvents(p.Target, before.Credentials, status.Credentials)...)
}

// transitions returns the events of a change of status: one for each condition whose status or
// reason is another than before. Ready follows from the others and has none of its own; neither has
// what is good from the beginning, which the status says: a thousand new targets would be thousands
// of events.
func transitions(old, updated []metav1.Condition) []Event {
	var events []Event
	for _, kind := range []struct {
		condition string
		action    string
		good      metav1.ConditionStatus
	}{
		{v1alpha1.ConditionCredentialValid, "CheckCredential", metav1.ConditionTrue},
		{v1alpha1.ConditionProgrammed, "Program", metav1.ConditionTrue},
		{v1alpha1.ConditionConflicted, "FindConflicts", metav1.ConditionFalse},
		{v1alpha1.ConditionPodsOutdated, "ComparePods", metav1.ConditionFalse},
		{v1alpha1.ConditionCertificateIssued, "IssueCertificate", metav1.ConditionTrue},
	} {
		before, now := meta.FindStatusCondition(old, kind.condition), meta.FindStatusCondition(updated, kind.condition)
		if now == nil || before != nil && before.Status == now.Status && before.Reason == now.Reason {
			continue
		}
		// Each certificate that ends soon has events of its own: see expiryEvents.
		if now.Reason == reasonExpiresSoon {
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
