package controller

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// reopenAfter is how long a target stays closed when nothing could lead its calls out any more. A sidecar takes over new clusters
// before new routes (https://www.envoyproxy.io/docs/envoy/v1.40.0/api-docs/xds_protocol, "Eventual consistency considerations"),
// so for a moment somebody else's route, which is gone, would find the host that our ServiceEntry brings back, in plain text;
// measured: 3 calls at 20 a second. istiod waits 100 ms for further changes before it sends any, and seconds while many come.
const reopenAfter = 5 * time.Second

// reopening remembers which targets are closed because of somebody else's objects, and since when they could be open. What a
// restart forgets was seen by sidecars while the controller started.
type reopening struct {
	mu sync.Mutex
	// safe is when a closed target was first seen without such objects; zero while they are there.
	safe map[types.NamespacedName]time.Time
}

// hold returns the plan to follow now: p, or, for some time after the last reason went, still a closed one. left is how long that
// takes from now; zero when it is over.
func (r *reopening) hold(key types.NamespacedName, p plan, now time.Time) (held plan, left time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	since, known := r.safe[key]
	switch {
	case p.closed:
		if r.safe == nil {
			r.safe = map[types.NamespacedName]time.Time{}
		}
		if p.verdict.reason == reasonPlaintextPossible || known {
			r.safe[key] = time.Time{}
		}
		return p, 0
	case !known:
		return p, 0
	case since.IsZero():
		since = now
		r.safe[key] = now
	}
	if left = reopenAfter - now.Sub(since); left <= 0 {
		delete(r.safe, key)
		return p, 0
	}
	p.closed = true
	p.verdict = verdict{reason: reasonPlaintextPossible,
		message: "the target is closed for some seconds more: what could have led its calls out is gone, and the sidecars have to hear of it first"}
	return p, left
}

// forget is for targets that are gone.
func (r *reopening) forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.safe, key)
}
