package plan

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

// Retention returns the time since which an EgressTarget that the controller created is unused, for
// its status, and how long it still stays. If left is 0 or negative, the controller deletes it.
// pods is the number of Pods that have the target, and kept is how long it stays without Pods. For
// an EgressTarget that is in use or belongs to a user, unusedSince is nil.
func Retention(
	egressTarget *v1alpha1.EgressTarget, pods int, kept time.Duration, now time.Time,
) (unusedSince *metav1.Time, left time.Duration) {
	if pods > 0 || !egress.MadeByController(egressTarget) {
		return nil, 0
	}
	since := egressTarget.Status.UnusedSince
	if since == nil {
		// The API server stores whole seconds.
		since = &metav1.Time{Time: now.Truncate(time.Second)}
	}
	return since, since.Add(kept).Sub(now)
}
