package controller

import (
	"sync"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// fairQueue is a workqueue that limits each namespace to a share of a controller's workers, so that
// slow requests of one namespace don't delay others. Requests over the share wait as if a worker
// processed them. When a request of their namespace is done, the next one goes to the end of the
// queue.
type fairQueue struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]

	share int

	mutex   sync.Mutex
	working map[string]int
	waiting map[string][]reconcile.Request
}

// share returns the number of a controller's workers that one namespace can use: a quarter, and at
// least one.
func share(workers int) int { return max(1, workers/4) }

func newFairQueue(queue workqueue.TypedRateLimitingInterface[reconcile.Request], share int) *fairQueue {
	return &fairQueue{
		TypedRateLimitingInterface: queue, share: share,
		working: map[string]int{}, waiting: map[string][]reconcile.Request{},
	}
}

// Get returns the next request whose namespace is within its share.
func (q *fairQueue) Get() (request reconcile.Request, shutdown bool) {
	for {
		request, shutdown = q.TypedRateLimitingInterface.Get()
		if shutdown || q.admit(request) {
			return request, shutdown
		}
	}
}

func (q *fairQueue) admit(request reconcile.Request) bool {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	if q.working[request.Namespace] < q.share {
		q.working[request.Namespace]++
		return true
	}
	q.waiting[request.Namespace] = append(q.waiting[request.Namespace], request)
	return false
}

// Done releases the share, and queues the request of the namespace that has waited longest.
func (q *fairQueue) Done(request reconcile.Request) {
	q.TypedRateLimitingInterface.Done(request)
	if next, found := q.release(request.Namespace); found {
		// For the queue, next is still being processed: after Add, it is queued once Done is called for
		// it.
		q.Add(next)
		q.TypedRateLimitingInterface.Done(next)
	}
}

func (q *fairQueue) release(namespace string) (next reconcile.Request, found bool) {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	if q.working[namespace]--; q.working[namespace] == 0 {
		delete(q.working, namespace)
	}
	waiting := q.waiting[namespace]
	if len(waiting) == 0 {
		return reconcile.Request{}, false
	}
	if q.waiting[namespace] = waiting[1:]; len(waiting) == 1 {
		delete(q.waiting, namespace)
	}
	return waiting[0], true
}
