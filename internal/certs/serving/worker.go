package serving

import (
	"context"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// firstRetry and lastRetry are the limits of the exponential backoff after a failed attempt.
const firstRetry, lastRetry = 50 * time.Millisecond, 30 * time.Second

// worker brings one object into its desired state when it is woken, and when an object that it
// watches changes. It retries what fails.
type worker struct {
	factories []informers.SharedInformerFactory
	synced    []cache.InformerSynced
	queue     workqueue.TypedRateLimitingInterface[struct{}]
}

func newWorker() worker {
	return worker{queue: workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[struct{}](firstRetry, lastRetry))}
}

// wake makes the worker look at its object.
func (w *worker) wake() { w.queue.Add(struct{}{}) }

// watch wakes the worker when an object of the informer changes.
func (w *worker) watch(factory informers.SharedInformerFactory, informer cache.SharedIndexInformer) error {
	handler, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { w.wake() }, UpdateFunc: func(any, any) { w.wake() }, DeleteFunc: func(any) { w.wake() },
	})
	if err != nil {
		return err
	}
	w.factories = append(w.factories, factory)
	w.synced = append(w.synced, handler.HasSynced)
	return nil
}

// run calls work once the caches are filled, and each time the worker is woken, until ctx is done.
// After an error it calls failed with the number of failures in a row, and work again later.
func (w *worker) run(ctx context.Context, work func(context.Context) error, failed func(err error, failures int)) {
	for _, factory := range w.factories {
		factory.Start(ctx.Done())
		defer factory.Shutdown()
	}
	defer context.AfterFunc(ctx, w.queue.ShutDown)()
	if !cache.WaitForCacheSync(ctx.Done(), w.synced...) {
		return
	}
	w.wake()
	for {
		item, shutdown := w.queue.Get()
		if shutdown {
			return
		}
		if err := work(ctx); err != nil {
			failed(err, w.queue.NumRequeues(item)+1)
			w.queue.AddRateLimited(item)
		} else {
			w.queue.Forget(item)
		}
		w.queue.Done(item)
	}
}
