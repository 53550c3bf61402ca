package plan

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
	"mtls.egress/webhook/internal/egress"
)

const day = 24 * time.Hour

// DefaultExpiryWarnings returns the default warning periods before a certificate expires.
func DefaultExpiryWarnings() []time.Duration {
	return []time.Duration{30 * day, 7 * day, day}
}

// ExpiryWarnings are the warning periods before a certificate expires, the longest first.
type ExpiryWarnings []time.Duration

// NewExpiryWarnings returns the sorted periods. nil means DefaultExpiryWarnings.
func NewExpiryWarnings(periods []time.Duration) ExpiryWarnings {
	if periods == nil {
		periods = DefaultExpiryWarnings()
	}
	return slices.SortedFunc(slices.Values(periods), func(a, b time.Duration) int { return cmp.Compare(b, a) })
}

// longestWarning returns the cap on the warning periods of a certificate, so that a certificate
// that is renewed in time causes no warning:
//   - With renewBefore, cert-manager has missed the renewal after four fifths of that time.
//   - Without it, cert-manager renews when a third of the lifetime is left, so the cap is a fifth.
//   - For all other certificates it is a third, because some tools renew them then.
func longestWarning(t egress.Target, secretName string, byCertManager bool, c *credential.Credential) time.Duration {
	life := c.NotAfter.Sub(c.NotBefore)
	switch {
	case !byCertManager:
		return life / 3
	case t.Certificate != nil && t.Certificate.RenewBefore != nil && secretName == t.SecretName:
		return min(t.Certificate.RenewBefore.Duration*4/5, life/3)
	default:
		return life / 5
	}
}

// expiry is the end of a certificate, and the cap on its warning periods.
type expiry struct {
	notAfter time.Time
	longest  time.Duration
}

// expiries returns the ends of the certificates of a check: of the client certificate and of the CA
// of the server, as far as they are known.
func (c CredentialCheck) expiries() []expiry {
	var found []expiry
	if c.Credential != nil {
		found = append(found, c.expiry())
	}
	if c.ServerCA != nil {
		found = append(found, expiryOf(c.ServerCA))
	}
	return found
}

// expiry returns the end of the client certificate, which must be known.
func (c CredentialCheck) expiry() expiry { return expiry{c.Credential.NotAfter, c.longestWarning} }

// expiryOf returns the end of the CA of a server. A person renews it, so the cap is a third of its
// lifetime.
func expiryOf(authority *credential.ServerCA) expiry {
	return expiry{authority.NotAfter, authority.NotAfter.Sub(authority.NotBefore) / 3}
}

// warnedFrom returns the time at which the warning of a period begins.
func (e expiry) warnedFrom(period time.Duration) time.Time {
	return e.notAfter.Add(-min(period, e.longest))
}

// within returns the shortest period whose warning has begun, or 0.
func (w ExpiryWarnings) within(e expiry, now time.Time) time.Duration {
	var shortest time.Duration
	for _, period := range w {
		if !now.Before(e.warnedFrom(period)) && (shortest == 0 || period < shortest) {
			shortest = period
		}
	}
	return shortest
}

// next returns the time until the next warning begins, and false after the last one.
func (w ExpiryWarnings) next(e expiry, now time.Time) (wait time.Duration, found bool) {
	for _, period := range w {
		if left := e.warnedFrom(period).Sub(now); left > 0 && (!found || left < wait) {
			wait, found = left, true
		}
	}
	return wait, found
}

// expiryEvents returns the events of certificates of t that entered a warning period: one for each
// certificate and period.
func expiryEvents(t egress.Target, old, updated []v1alpha1.CredentialStatus) []Event {
	var events []Event
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
		note := fmt.Sprintf(
			"the client certificate %q in the Secret %s expires on %s, within %s; Pods that present it: %d; %s",
			now.Subject, now.SecretName, now.NotAfter.UTC().Format(time.RFC3339), inDays(now.EndsWithin.Duration), now.Pods,
			renewal(t, now.SecretName))
		events = append(events, Event{
			Type: corev1.EventTypeWarning, Reason: reasonExpiresSoon, Action: "CheckCredential",
			SecretName: now.SecretName, Note: note,
		})
	}
	return events
}

// serverCAEvents returns the events of CAs of servers that entered a warning period: one for each
// Secret and period.
func serverCAEvents(t egress.Target, old, updated []v1alpha1.CredentialStatus) []Event {
	var events []Event
	for _, now := range updated {
		ca := now.ServerCA
		if now.Reason != "" || ca == nil || ca.EndsWithin == nil || ca.NotAfter == nil {
			continue
		}
		known := slices.ContainsFunc(old, func(before v1alpha1.CredentialStatus) bool {
			was := before.ServerCA
			return before.SecretName == now.SecretName && was != nil && was.EndsWithin != nil && was.Subject == ca.Subject &&
				was.NotAfter.Equal(ca.NotAfter) && was.EndsWithin.Duration <= ca.EndsWithin.Duration
		})
		if known {
			continue
		}
		note := fmt.Sprintf(
			"the CA of the server %q in the %s expires on %s, within %s; Pods that trust it: %d; ask the partner for the "+
				"current one, and add it there; no restart is needed",
			ca.Subject, caSource(t, now.SecretName), ca.NotAfter.UTC().Format(time.RFC3339),
			inDays(ca.EndsWithin.Duration), now.Pods)
		events = append(events, Event{
			Type: corev1.EventTypeWarning, Reason: reasonServerCAExpiresSoon, Action: "CheckCredential",
			SecretName: now.SecretName, Note: note,
		})
	}
	return events
}

// caSource names the object that holds the CA of t's server.
func caSource(t egress.Target, secretName string) string {
	if configMap := t.ServerCA.ConfigMap.Name; configMap != "" {
		return "ConfigMap " + configMap
	}
	return "Secret " + secretName
}

// renewal returns the advice for a certificate that expires.
func renewal(t egress.Target, secretName string) string {
	if t.Issuer != nil && secretName == t.SecretName {
		return "cert-manager should have renewed it; see the condition CertificateIssued"
	}
	return "put the new certificate into the Secret; no restart is needed"
}

// inDays formats a period in days where it is a whole number of them.
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

// endsWithin converts a period for a status. 0 becomes nil.
func endsWithin(period time.Duration) *metav1.Duration {
	if period == 0 {
		return nil
	}
	return &metav1.Duration{Duration: period}
}
