package controller

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// handshakeLimits limits the rate of handshakes. It never blocks: a target over the limit retries
// later. So neither partners that don't answer nor many targets of one partner delay other targets.
type handshakeLimits struct {
	// all and changed limit the handshakes with all partners together. Changed credentials have a
	// separate limit, because their Pods get them soon.
	all, changed *rate.Limiter

	mutex sync.Mutex
	// last has the time of the last handshake with each partner, if it is within partnerPause.
	last map[string]time.Time
}

func newHandshakeLimits(perSecond int) *handshakeLimits {
	return &handshakeLimits{
		all:     rate.NewLimiter(rate.Limit(perSecond), perSecond),
		changed: rate.NewLimiter(rate.Limit(perSecond), perSecond),
		last:    map[string]time.Time{},
	}
}

// allow reports whether a handshake with a partner may be made now, and counts it. changed selects
// the limit for changed credentials.
func (t *handshakeLimits) allow(partner string, changed bool, now time.Time) bool {
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
