package controller

import (
	"context"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"mtls.egress/webhook/api/v1alpha1"
)

// urgentFirst is the order of a workqueue: urgent requests before all others, and both in the order
// in which they came. A new leader looks at all targets, most of which the last one has programmed;
// what changed meanwhile must not wait for them.
type urgentFirst struct {
	// urgent is asked when a request is added, and again when it is added while it waits.
	urgent func(reconcile.Request) bool

	first, others workqueue.Queue[reconcile.Request]
	// ahead are the requests in first.
	ahead map[reconcile.Request]bool
	// moved counts the places in others of requests that became urgent there.
	moved map[reconcile.Request]int
	stale int
}

var _ workqueue.Queue[reconcile.Request] = &urgentFirst{}

func newUrgentFirst(urgent func(reconcile.Request) bool) *urgentFirst {
	return &urgentFirst{
		urgent: urgent,
		first:  workqueue.DefaultQueue[reconcile.Request](), others: workqueue.DefaultQueue[reconcile.Request](),
		ahead: map[reconcile.Request]bool{}, moved: map[reconcile.Request]int{},
	}
}

// urgentIn returns what is urgent: targets that aren't programmed as the cache has them. Those that
// can't be programmed are tried again after pauses, so they don't keep others waiting.
func urgentIn(ctx context.Context, cache client.Reader) func(reconcile.Request) bool {
	return func(request reconcile.Request) bool {
		var egressTarget v1alpha1.EgressTarget
		if err := cache.Get(ctx, request.NamespacedName, &egressTarget, client.UnsafeDisableDeepCopy); err != nil {
			return true
		}
		return !egressTarget.DeletionTimestamp.IsZero() ||
			egressTarget.Status.ObservedGeneration != egressTarget.Generation
	}
}

// Push adds a request.
func (q *urgentFirst) Push(request reconcile.Request) {
	if q.urgent(request) {
		q.pushFirst(request)
		return
	}
	q.others.Push(request)
}

// Touch moves a request ahead that became urgent while it waits.
func (q *urgentFirst) Touch(request reconcile.Request) {
	if q.ahead[request] || !q.urgent(request) {
		return
	}
	q.moved[request]++
	q.stale++
	q.pushFirst(request)
}

func (q *urgentFirst) pushFirst(request reconcile.Request) {
	q.ahead[request] = true
	q.first.Push(request)
}

// Len returns the number of requests.
func (q *urgentFirst) Len() int { return q.first.Len() + q.others.Len() - q.stale }

// Pop returns the next request. It must not be called if there is none.
func (q *urgentFirst) Pop() reconcile.Request {
	if q.first.Len() > 0 {
		request := q.first.Pop()
		delete(q.ahead, request)
		return request
	}
	for {
		request := q.others.Pop()
		if q.moved[request] == 0 {
			return request
		}
		q.stale--
		if q.moved[request]--; q.moved[request] == 0 {
			delete(q.moved, request)
		}
	}
}
