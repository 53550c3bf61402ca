package plan

import (
	"hash/fnv"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
)

// Secrets are polled, because the controller doesn't watch them.
// docs/project/decisions/0005-secret-reads.md has the reasons.
const (
	// readAwaited and readAwaitedMost are the bounds of the interval while Pods wait for an unusable
	// credential. The interval grows with the time that the credential has been unusable: a fix is
	// noticed within a quarter of that time.
	readAwaited     = time.Second
	readAwaitedMost = 15 * time.Second
	// readUnused is the interval while an unusable credential has no Pods.
	readUnused = time.Minute
	// readValid is the interval while all credentials are usable. Up to a fifth is subtracted to
	// spread the targets.
	readValid = 5 * time.Minute
)

// NextLook returns the time until the target must be reconciled without an event. That is when its
// Secrets must be read again. It is earlier if a certificate expires, if an expiry warning begins,
// or if the lifetime left falls below the maximum age of connections. status is the status after
// this plan.
func (p Plan) NextLook(status v1alpha1.EgressTargetStatus) time.Duration {
	pause := p.readAgain(status)
	if p.facts.IssuedUnseen {
		pause = min(pause, readAwaitedMost)
	}
	return pause
}

func (p Plan) readAgain(status v1alpha1.EgressTargetStatus) time.Duration {
	now := p.facts.Now
	condition := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionCredentialValid)
	if condition != nil && condition.Status == metav1.ConditionFalse && condition.Reason != reasonLayoutsDiffer {
		if status.Pods == 0 {
			return readUnused
		}
		return min(max(now.Sub(condition.LastTransitionTime.Time)/4, readAwaited), readAwaitedMost)
	}
	pause := readValid - Spread(p.Target.Host, readValid/5)
	for _, c := range p.facts.Credentials {
		for _, e := range c.expiries() {
			if wait, found := p.facts.Warnings.next(e, now); found {
				pause = min(pause, wait)
			}
			// A certificate is valid through the second NotAfter (RFC 5280 §4.1.2.5).
			end := e.notAfter.Add(time.Second)
			for _, moment := range []time.Time{end.Add(-p.Target.MaxConnectionAge), end} {
				if wait := moment.Sub(now); wait > 0 {
					pause = min(pause, wait)
				}
			}
		}
	}
	return pause
}

// Spread returns a duration below limit that depends only on text.
func Spread(text string, limit time.Duration) time.Duration {
	sum := fnv.New32a()
	// Writing to a hash never fails.
	_, _ = sum.Write([]byte(text))
	return time.Duration(sum.Sum32()) % limit
}
