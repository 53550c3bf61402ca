package controller

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/mesh"
)

// Marks on EgressTargets.
const (
	// FieldManager is the field manager of everything that the controller writes.
	FieldManager = "mtls-egress-webhook"
	// Finalizer keeps a deleted EgressTarget, and with it its objects, until no Pod of the host is left.
	Finalizer = "mtls.egress/teardown"
	// LabelCreated marks an EgressTarget that the controller created, with the value ValueCreated. Whoever takes the label off,
	// or writes anything else to the EgressTarget, makes it his own.
	LabelCreated = mesh.ManagedByLabel
	// ValueCreated is the value of LabelCreated.
	ValueCreated = mesh.ManagedByValue
)

// removable says whether the controller may remove the EgressTarget when nobody needs it: it created it, and nobody else ever
// wrote to it. A user's is never removed, nor one that a user changed, labelled or applied over.
func removable(egressTarget *v1alpha1.EgressTarget) bool {
	if egressTarget.Labels[LabelCreated] != ValueCreated {
		return false
	}
	return !slices.ContainsFunc(egressTarget.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager != FieldManager && entry.Subresource == ""
	})
}

// retention says since when a removable EgressTarget without Pods is unused, as its status has to say it, and how long it
// stays; with 0 or less it goes. Nil: it is in use or isn't removable.
func retention(egressTarget *v1alpha1.EgressTarget, pods int, kept time.Duration, now time.Time) (unusedSince *metav1.Time, left time.Duration) {
	if pods > 0 || !removable(egressTarget) {
		return nil, 0
	}
	since := egressTarget.Status.UnusedSince
	if since == nil {
		// The API server stores whole seconds.
		since = &metav1.Time{Time: now.Truncate(time.Second)}
	}
	return since, since.Add(kept).Sub(now)
}
