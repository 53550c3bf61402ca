package controller

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
)

const day = 24 * time.Hour

// DefaultExpiryWarnings returns how long before its end a certificate is warned of.
func DefaultExpiryWarnings() []time.Duration {
	return []time.Duration{30 * day, 7 * day, day}
}

// expiryWarnings are the periods before its end in which a certificate is warned of.
type expiryWarnings []time.Duration

// begin is when the warning of a period begins for c: the period before its end, but at most a fifth of its life before. So short-lived
// certificates that are renewed at two thirds of their life, as cert-manager does, are renewed without a word.
func begin(c *credential.Credential, period time.Duration) time.Time {
	return c.NotAfter.Add(-min(period, c.NotAfter.Sub(c.NotBefore)/5))
}

// within returns the shortest period whose warning has begun for c, 0 without one.
func (w expiryWarnings) within(c *credential.Credential, now time.Time) time.Duration {
	var shortest time.Duration
	for _, period := range w {
		if !now.Before(begin(c, period)) && (shortest == 0 || period < shortest) {
			shortest = period
		}
	}
	return shortest
}

// next returns how long it takes until the next warning begins for c, false when none does.
func (w expiryWarnings) next(c *credential.Credential, now time.Time) (wait time.Duration, found bool) {
	for _, period := range w {
		if left := begin(c, period).Sub(now); left > 0 && (!found || left < wait) {
			wait, found = left, true
		}
	}
	return wait, found
}

// expiryNotices returns the events of certificates that came nearer to their end: one for each warning period, and none again for the same certificate.
func expiryNotices(old, updated []v1alpha1.CredentialStatus) []notice {
	var notices []notice
	for _, now := range updated {
		if now.EndsWithin == nil || now.Reason != "" || now.NotAfter == nil {
			continue
		}
		at := slices.IndexFunc(old, func(before v1alpha1.CredentialStatus) bool {
			return before.SecretName == now.SecretName && before.SHA256 == now.SHA256
		})
		if at >= 0 && old[at].EndsWithin != nil && old[at].EndsWithin.Duration <= now.EndsWithin.Duration {
			continue
		}
		notices = append(notices, notice{kind: corev1.EventTypeWarning, reason: reasonExpiresSoon, action: "CheckCredential", note: fmt.Sprintf(
			"the client certificate %q in the Secret %s ends on %s, within %s; Pods that present it: %d; put the next one into the Secret, nothing has to be restarted",
			now.Subject, now.SecretName, now.NotAfter.UTC().Format(time.RFC3339), inDays(now.EndsWithin.Duration), now.Pods)})
	}
	return notices
}

// inDays writes a period as a person would.
func inDays(period time.Duration) string {
	switch days := int64(period / day); {
	case period%day != 0:
		return period.String()
	case days == 1:
		return "a day"
	default:
		return strconv.FormatInt(days, 10) + " days"
	}
}

// endsWithin is a period in a status, nil for none.
func endsWithin(period time.Duration) *metav1.Duration {
	if period == 0 {
		return nil
	}
	return &metav1.Duration{Duration: period}
}

// sortedWarnings are the periods of the options, the longest first; the default ones when there are none.
func sortedWarnings(periods []time.Duration) expiryWarnings {
	if periods == nil {
		periods = DefaultExpiryWarnings()
	}
	return slices.SortedFunc(slices.Values(periods), func(a, b time.Duration) int { return cmp.Compare(b, a) })
}
