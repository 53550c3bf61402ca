package credential

import (
	"time"

	"mtls.egress/webhook/internal/egress"
)

// minConnectionAge is the shortest value of connection.maxAge in an EgressTarget.
const minConnectionAge = time.Second

// ConnectionAge returns how long connections of t are used while Pods present credentials, at the
// time now. An open connection keeps the certificate of its handshake. Therefore:
//   - If the EgressTarget doesn't set connection.maxAge, the age is at most a tenth of the shortest
//     lifetime among the certificates. Certificates are renewed when a fifth or a third of their
//     lifetime is left, so all connections move to the new one long before the old one expires. If
//     the EgressTarget sets renewBefore, the age is at most half of it, because the kubelet also
//     needs time.
//   - The age is never longer than the remaining lifetime of a certificate. It is halved repeatedly
//     instead of following the clock, so that the objects in the cluster change only a few times.
//     It is at least a second. Expired certificates are ignored.
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
