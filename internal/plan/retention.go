package plan

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

// Retention returns since when an EgressTarget that the controller made is unused, as its status
// has to say it, and how long it stays; with 0 or less it goes. pods is how many Pods have the
// target, kept how long it stays without one. It returns nil for one that is in use or a user's.
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
