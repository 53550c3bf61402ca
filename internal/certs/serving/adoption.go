package serving

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"
)

// choose returns the certificate to serve: the one in use, or the newest one. The newest one waits
// while the API server might not trust it yet and the one in use still works. It waits
//   - until the caBundle contains its issuer, and
//   - until delay has passed since it was signed and since held, when the caBundle was first seen
//     with its issuer,
//
// but only as long as the one in use is valid and its issuer is in the caBundle.
//
// holdsIssuer returns an error if the caBundle doesn't contain the issuer of a certificate. choose
// returns an error only if there is no certificate to serve.
func choose(
	inUse, newest *tls.Certificate,
	held time.Time,
	holdsIssuer func(*tls.Certificate) error,
	delay time.Duration,
	now time.Time,
) (*tls.Certificate, error) {
	if newest == inUse {
		return inUse, nil
	}
	if err := holdsIssuer(newest); err != nil {
		if inUse == nil {
			return nil, err
		}
		return inUse, nil
	}
	works := inUse != nil && validAt(inUse.Leaf, now) == nil && holdsIssuer(inUse) == nil
	if works && (now.Before(newest.Leaf.NotBefore.Add(delay)) || now.Before(held.Add(delay))) {
		return inUse, nil
	}
	return newest, nil
}

// validAt returns an error if leaf is not valid now. It compares with the wall clock: the times of
// a certificate have no monotonic clock reading, which stops while a machine sleeps.
func validAt(leaf *x509.Certificate, now time.Time) error {
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("serving certificate: expired on %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("serving certificate: not valid before %s: check the clock of this machine",
			leaf.NotBefore.UTC().Format(time.RFC3339))
	default:
		return nil
	}
}
