package credential

import (
	"time"

	"mtls.egress/webhook/internal/egress"
)

// minConnectionAge is the shortest age that an EgressTarget can ask for.
const minConnectionAge = time.Second

// ConnectionAge is how long connections of t are used while Pods present credentials, at the time
// now. An open connection presents the certificate that it began with, so
//   - unless the EgressTarget says how long, it is at most a tenth of the shortest life among the
//     certificates. Certificates are renewed when a fifth or a third of their life is left, so that
//     all connections have moved to the new one long before the old one ends. Where the
//     EgressTarget says how long before the end cert-manager renews, it is at most half of that, as
//     the kubelet takes its time too;
//   - it is never longer than the time that is left to a certificate. It is halved then, again and
//     again, rather than following the clock, so that the objects in the cluster change a few times
//     only; but it is at least a second, and a certificate that has ended doesn't count.
func ConnectionAge(t egress.Target, credentials []*Credential, now time.Time) time.Duration {
	const part = 10
	age := t.MaxConnectionAge
	if !t.ConnectionAgeChosen {
		for _, c := range credentials {
			age = min(age, c.NotAfter.Sub(c.NotBefore)/part)
		}
		if t.Certificate != nil && t.Certificate.RenewBefore != nil {
			age = min(age, t.Certificate.RenewBefore.Duration/2)
		}
		age = max(age.Truncate(time.Second), minConnectionAge)
	}
	for _, c := range credentials {
		for left := c.NotAfter.Sub(now); left >= 0 && age > left && age > minConnectionAge; {
			age = max(age/2, minConnectionAge)
		}
	}
	return age
}
