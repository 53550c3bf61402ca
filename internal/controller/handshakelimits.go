package controller

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// handshakeLimits decides who may make a handshake now. Nobody is kept waiting by it: who may not
// asks again later, so that partners that don't answer, and many targets of one partner, hold
// nobody else up.
type handshakeLimits struct {
	// all and changed bound the handshakes with all partners together: those of changed credentials
	// have a limit of their own, as their Pods get them soon.
	all, changed *rate.Limiter

	mutex sync.Mutex
	// last has the time of the last handshake with each partner, as far as it still counts.
	last map[string]time.Time
}

func newHandshakeLimits(perSecond int) *handshakeLimits {
	return &handshakeLimits{all: rate.NewLimiter(rate.Limit(perSecond), perSecond), changed: rate.NewLimiter(rate.Limit(perSecond), perSecond), last: map[string]time.Time{}}
}

// take takes a turn for a handshake with a partner, because of a changed credential or for another
// reason; false when it isn't its turn.
func (t *handshakeLimits) take(partner string, changed bool, now time.Time) bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if now.Sub(t.last[partner]) < partnerPause {
		return false
	}
	limiter := t.all
	if changed {
		limiter = t.changed
	}
	if !limiter.AllowN(now, 1) {
		return false
	}
	for other, at := range t.last {
		if now.Sub(at) >= partnerPause {
			delete(t.last, other)
		}
	}
	t.last[partner] = now
	return true
}
