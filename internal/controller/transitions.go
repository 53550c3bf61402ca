package controller

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"mtls.egress/webhook/api/v1alpha1"
)

// notice is one event on an EgressTarget.
type notice struct {
	kind   string
	reason string
	action string
	note   string
	// secretName is the Secret that it is about, "" for none. Events that differ in nothing but the note are taken for one.
	secretName string
}

// record raises the event of a notice. The Secret is its related object (https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/).
func record(recorder events.EventRecorder, egressTarget *v1alpha1.EgressTarget, n notice) {
	var related runtime.Object
	if n.secretName != "" {
		related = &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Namespace: egressTarget.Namespace, Name: n.secretName}}
	}
	recorder.Eventf(egressTarget, related, n.kind, n.reason, n.action, "%s", shortened(n.note, maxEventNote))
}

// transitions returns the events of a change of status: one for each condition whose status or reason is another than
// before. Ready follows from the others and has none of its own; neither has what is good from the beginning, which the status says: a thousand new targets would be
// thousands of events.
func transitions(old, updated []metav1.Condition) []notice {
	var notices []notice
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
		// Each certificate that ends soon has events of its own: see expiryNotices.
		if now.Reason == reasonExpiresSoon {
			continue
		}
		if before == nil && now.Status == kind.good && now.Reason != reasonLastGoodKept {
			continue
		}
		e := notice{kind: corev1.EventTypeNormal, reason: now.Reason, action: kind.action, note: now.Message}
		if now.Status != kind.good || now.Reason == reasonLastGoodKept {
			e.kind = corev1.EventTypeWarning
		}
		notices = append(notices, e)
	}
	return notices
}
