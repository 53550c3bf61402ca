package serving

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// errNoLeaf says why there is no certificate in the first moments, or when the CA's Secret cannot
// be read or written.
var errNoLeaf = errors.New("not signed yet: waiting for the CA's Secret; the log has the reason when this lasts")

// choose is the certificate to serve: the one in use, or the newest one. The newest waits while the
// API server may not trust it yet and the one in use still works. That is, it waits
//   - until the caBundle holds its issuer, and
//   - for delay after both it was signed and the caBundle was seen to hold its issuer, since when
//     is told,
//
// but not longer than the one in use is valid and its issuer is in the caBundle.
//
// holdsIssuer says why the caBundle does not hold a certificate's issuer. The error says why
// nothing is chosen; it is nil when something is.
func choose(inUse, newest *tls.Certificate, held time.Time, holdsIssuer func(*tls.Certificate) error, delay time.Duration, now time.Time) (*tls.Certificate, error) {
	if newest == inUse {
		newest = nil
	}
	if newest == nil {
		if inUse == nil {
			return nil, errNoLeaf
		}
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

// validAt compares with the wall clock: the times of a certificate carry no monotonic reading,
// which stands still while a machine sleeps.
func validAt(leaf *x509.Certificate, now time.Time) error {
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("serving certificate: expired on %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("serving certificate: valid only from %s on; is the clock of this machine right?", leaf.NotBefore.UTC().Format(time.RFC3339))
	default:
		return nil
	}
}
