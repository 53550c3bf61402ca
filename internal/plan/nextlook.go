package plan

import (
	"hash/fnv"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
)

// How often Secrets are read, as nothing tells of their change; docs/decisions/0005-secret-reads.md
// has the reasons.
const (
	// readAwaited and readAwaitedMost bound the pause while a credential can't be used and Pods wait
	// for it. It grows with the time that it has been so, such that a repair is seen within a quarter
	// of the time that it took.
	readAwaited     = time.Second
	readAwaitedMost = 15 * time.Second
	// readUnused is the pause while a credential can't be used and no Pod asks for it.
	readUnused = time.Minute
	// readValid is the pause while all credentials can be used, less up to a fifth, by which targets
	// are spread.
	readValid = 5 * time.Minute
)

// NextLook returns when to look at the target again though nothing told of a change: when its
// Secrets have to be read again, or before that when a certificate ends, a warning of its end
// begins, or less time is left to it than connections are old by then. status is the one after this
// plan.
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
		if c.Credential == nil {
			continue
		}
		if wait, found := p.facts.Warnings.next(c, now); found {
			pause = min(pause, wait)
		}
		// A certificate is valid up to and with the second NotAfter (RFC 5280 §4.1.2.5).
		end := c.Credential.NotAfter.Add(time.Second)
		for _, moment := range []time.Time{end.Add(-p.Target.MaxConnectionAge), end} {
			if wait := moment.Sub(now); wait > 0 {
				pause = min(pause, wait)
			}
		}
	}
	return pause
}

// Spread returns a duration below limit that depends on text alone.
func Spread(text string, limit time.Duration) time.Duration {
	sum := fnv.New32a()
	// A hash never fails to write.
	_, _ = sum.Write([]byte(text))
	return time.Duration(sum.Sum32()) % limit
}
