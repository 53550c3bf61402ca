package serving

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"testing"
	"time"
)

func TestChoose(t *testing.T) {
	now := moment()
	const delay = 5 * time.Minute
	leaf := func(notBefore, notAfter time.Time) *tls.Certificate {
		return &tls.Certificate{Leaf: &x509.Certificate{NotBefore: notBefore, NotAfter: notAfter}}
	}
	old := leaf(now.Add(-time.Hour), now.Add(time.Hour))
	expired := leaf(now.Add(-time.Hour), now.Add(-time.Second))
	fresh := leaf(now, now.Add(time.Hour))
	settled := leaf(now.Add(-delay), now.Add(time.Hour))
	errUnknown := errors.New("not in the caBundle")

	tests := map[string]struct {
		inUse, newest *tls.Certificate
		held          time.Duration // since when the caBundle holds the issuer of the newest
		distrusted    []*tls.Certificate
		want          *tls.Certificate
		err           error
	}{
		"the first leaf is used at once": {newest: fresh, want: fresh},
		"the first leaf waits for the caBundle": {
			newest:     fresh,
			distrusted: []*tls.Certificate{fresh},
			err:        errUnknown,
		},
		"the newest is in use already": {inUse: old, newest: old, want: old},
		"what is in use stays when the caBundle loses its CA": {
			inUse:      old,
			newest:     old,
			distrusted: []*tls.Certificate{old},
			want:       old,
		},
		"a fresh leaf waits while the one in use works": {inUse: old, newest: fresh, want: old},
		"after the delay it is used": {
			inUse:  old,
			newest: settled,
			held:   delay,
			want:   settled,
		},
		"an older one waits for the caBundle to get about, too": {
			inUse:  old,
			newest: settled,
			held:   delay - time.Second,
			want:   old,
		},
		"it waits longer for the caBundle": {
			inUse:      old,
			newest:     settled,
			distrusted: []*tls.Certificate{settled},
			want:       old,
		},
		"it does not wait when the one in use has expired": {inUse: expired, newest: fresh, want: fresh},
		"it does not wait when the CA of the one in use is gone": {
			inUse:      old,
			newest:     fresh,
			distrusted: []*tls.Certificate{old},
			want:       fresh,
		},
		"what is in use stays when neither is trusted": {
			inUse:      old,
			newest:     fresh,
			distrusted: []*tls.Certificate{old, fresh},
			want:       old,
		},
		"an expired one stays until the new one can be trusted": {
			inUse:      expired,
			newest:     fresh,
			distrusted: []*tls.Certificate{fresh},
			want:       expired,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			holdsIssuer := func(certificate *tls.Certificate) error {
				if slices.Contains(test.distrusted, certificate) {
					return errUnknown
				}
				return nil
			}
			got, err := choose(test.inUse, test.newest, now.Add(-test.held), holdsIssuer, delay, now)
			if got != test.want || !errors.Is(err, test.err) {
				t.Errorf("got %p, %v; want %p, %v", got, err, test.want, test.err)
			}
		})
	}
}

func TestValidAt(t *testing.T) {
	now := moment()
	tests := map[string]struct {
		notBefore, notAfter time.Time
		want                string
	}{
		"the first second": {notBefore: now, notAfter: now.Add(time.Hour)},
		"the last second":  {notBefore: now.Add(-time.Hour), notAfter: now},
		"a second too late": {
			notBefore: now.Add(-time.Hour),
			notAfter:  now.Add(-time.Second),
			want:      "serving certificate: expired on 2026-07-01T11:59:59Z",
		},
		"a second too soon": {
			notBefore: now.Add(time.Second),
			notAfter:  now.Add(time.Hour),
			want:      "serving certificate: not valid before 2026-07-01T12:00:01Z: check the clock of this machine",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := validAt(&x509.Certificate{NotBefore: test.notBefore, NotAfter: test.notAfter}, now); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
