package perf_test

import (
	"context"
	"errors"
	"math"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// newClients returns clients that create Pods. Each has a connection of its own, as the API server
// works on 100 requests of one HTTP/2 connection at a time. They write protobuf, as the controllers
// of Kubernetes do.
func newClients(config *rest.Config, count int) ([]corev1client.PodInterface, error) {
	clients := make([]corev1client.PodInterface, count)
	for n := range clients {
		own := rest.CopyConfig(config)
		own.QPS = -1
		own.ContentType = runtime.ContentTypeProtobuf
		own.AcceptContentTypes = runtime.ContentTypeProtobuf
		// client-go shares connections between clients that don't bring their own dialer.
		own.Dial = (&net.Dialer{}).DialContext
		client, err := corev1client.NewForConfig(own)
		if err != nil {
			return nil, err
		}
		clients[n] = client.Pods(namespace)
	}
	return clients, nil
}

// sample is what the clients saw of one cell: the times of the single calls, and the time of all.
type sample struct {
	calls []time.Duration
	all   time.Duration
}

// quantile is the time that a share of the calls did not exceed (nearest rank).
func (s sample) quantile(share float64) time.Duration {
	sorted := slices.Sorted(slices.Values(s.calls))
	return sorted[max(0, int(math.Ceil(share*float64(len(sorted))))-1)]
}

func (s sample) perSecond() float64 { return float64(len(s.calls)) / s.all.Seconds() }

// create creates Pods; every client has one call under way at any time. The first call that fails
// ends it.
func create(ctx context.Context, clients []corev1client.PodInterface, count int, of contender) (sample, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pod := of.pod()
	calls := make([]time.Duration, count)
	var begun atomic.Int64
	var working sync.WaitGroup
	start := time.Now()
	for _, client := range clients {
		working.Go(func() {
			for ctx.Err() == nil {
				n := int(begun.Add(1)) - 1
				if n >= count {
					return
				}
				took, err := createOne(ctx, client, pod, of)
				if err != nil {
					cancel(err)
				}
				calls[n] = took
			}
		})
	}
	working.Wait()
	return sample{calls: calls, all: time.Since(start)}, context.Cause(ctx)
}

func createOne(
	ctx context.Context,
	client corev1client.PodInterface,
	pod *corev1.Pod,
	of contender,
) (time.Duration, error) {
	pod = pod.DeepCopy() // a client sets the kind of the object while it encodes it
	start := time.Now()
	created, err := client.Create(ctx, pod, metav1.CreateOptions{})
	took := time.Since(start)
	if err != nil {
		return took, err
	}
	return took, of.check(created)
}

// remove deletes all Pods. No node has to agree, as they are on none.
func remove(ctx context.Context, client corev1client.PodInterface) error {
	if err := client.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return err
	}
	left, err := client.List(ctx, metav1.ListOptions{Limit: 1})
	if err == nil && len(left.Items) > 0 {
		err = errors.New("there are still Pods after all have been deleted")
	}
	return err
}
