package controller

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func requestIn(namespace, name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}

// taken gets n requests from the queue without calling Done.
func taken(t *testing.T, queue *fairQueue, n int) []string {
	t.Helper()
	var names []string
	for range n {
		request, shutdown := queue.Get()
		if shutdown {
			t.Fatal("the queue is shut down")
		}
		names = append(names, request.Namespace+"/"+request.Name)
	}
	return names
}

func TestANamespaceTakesItsShareOfTheWorkersAlone(t *testing.T) {
	queue := newFairQueue(
		workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]()), 2,
	)
	defer queue.ShutDown()
	for _, name := range []string{"1", "2", "3", "4"} {
		queue.Add(requestIn("greedy", name))
	}
	queue.Add(requestIn("other", "1"))
	if diff := cmp.Diff([]string{"greedy/1", "greedy/2", "other/1"}, taken(t, queue, 3)); diff != "" {
		t.Errorf("with no request done (-want +got):\n%s", diff)
	}

	queue.Add(requestIn("greedy", "3")) // it is waiting, so it is processed once and not twice
	queue.Done(requestIn("other", "1"))
	queue.Done(requestIn("greedy", "1"))
	if diff := cmp.Diff([]string{"greedy/3"}, taken(t, queue, 1)); diff != "" {
		t.Errorf("with a request of the namespace done (-want +got):\n%s", diff)
	}

	queue.Add(requestIn("greedy", "2")) // it is being processed, so it is queued again
	queue.Done(requestIn("greedy", "2"))
	queue.Done(requestIn("greedy", "3"))
	if diff := cmp.Diff([]string{"greedy/2", "greedy/4"}, taken(t, queue, 2)); diff != "" {
		t.Errorf("with all but one done (-want +got):\n%s", diff)
	}
	queue.Done(requestIn("greedy", "2"))
	queue.Done(requestIn("greedy", "4"))
	if queue.Len() != 0 || len(queue.working) != 0 || len(queue.waiting) != 0 {
		t.Errorf("%d requests are left, %v are being processed, %v wait", queue.Len(), queue.working, queue.waiting)
	}
}

func TestAShareIsAQuarterOfTheWorkers(t *testing.T) {
	for workers, want := range map[int]int{1: 1, 3: 1, 4: 1, 8: 2, 16: 4} {
		if got := share(workers); got != want {
			t.Errorf("of %d workers %d, want %d", workers, got, want)
		}
	}
}
