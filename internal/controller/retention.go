package controller

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/target"
)

// Marks on EgressTargets.
const (
	// FieldManager is the field manager of everything that the controller writes.
	FieldManager = target.ValueManagedBy
	// Finalizer keeps a deleted EgressTarget, and with it its objects, until no Pod of the host is left.
	Finalizer = "mtls.egress/teardown"
)

// retention says since when a EgressTarget of the controller's without Pods is unused, as its status has to say it, and how long it
// stays; with 0 or less it goes. Nil: it is in use or a user's.
func retention(egressTarget *v1alpha1.EgressTarget, pods int, kept time.Duration, now time.Time) (unusedSince *metav1.Time, left time.Duration) {
	if pods > 0 || !target.MadeByController(egressTarget) {
		return nil, 0
	}
	since := egressTarget.Status.UnusedSince
	if since == nil {
		// The API server stores whole seconds.
		since = &metav1.Time{Time: now.Truncate(time.Second)}
	}
	return since, since.Add(kept).Sub(now)
}
