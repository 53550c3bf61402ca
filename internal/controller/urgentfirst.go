package controller

import (
	"context"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"mtls.egress/webhook/api/v1alpha1"
)

// urgentFirst is the order of a workqueue: urgent requests and others take turns, and both come in
// the order in which they were added. A new leader looks at all targets, most of which the last one
// has programmed; what changed meanwhile must not wait for them. Nor may a target that has to be
// closed, which isn't urgent, wait for all the targets that another team creates.
type urgentFirst struct {
	// urgent is asked when a request is added, and again when it is added while it waits.
	urgent func(reconcile.Request) bool

	first, others workqueue.Queue[reconcile.Request]
	// ahead are the requests in first.
	ahead map[reconcile.Request]bool
	// moved counts the places in others of requests that became urgent there, and stale all of them.
	moved map[reconcile.Request]int
	stale int
	// urgentTaken is whether the last request was an urgent one.
	urgentTaken bool
}

var _ workqueue.Queue[reconcile.Request] = &urgentFirst{}

func newUrgentFirst(urgent func(reconcile.Request) bool) *urgentFirst {
	return &urgentFirst{
		urgent: urgent,
		first:  workqueue.DefaultQueue[reconcile.Request](), others: workqueue.DefaultQueue[reconcile.Request](),
		ahead: map[reconcile.Request]bool{}, moved: map[reconcile.Request]int{},
	}
}

// urgentIn returns what is urgent: targets whose generation in the cache was never programmed. A
// deletion is another generation too.
func urgentIn(ctx context.Context, cache client.Reader) func(reconcile.Request) bool {
	return func(request reconcile.Request) bool {
		var egressTarget v1alpha1.EgressTarget
		if err := cache.Get(ctx, request.NamespacedName, &egressTarget, client.UnsafeDisableDeepCopy); err != nil {
			return true
		}
		return egressTarget.Status.ObservedGeneration != egressTarget.Generation
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

// Pop returns the next request. There must be one.
func (q *urgentFirst) Pop() reconcile.Request {
	nextIsUrgent := q.others.Len() == q.stale || !q.urgentTaken
	if q.urgentTaken = q.first.Len() > 0 && nextIsUrgent; q.urgentTaken {
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
