package paging_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	clientfeatures "k8s.io/client-go/features"
	clientfeaturestesting "k8s.io/client-go/features/testing"
	toolscache "k8s.io/client-go/tools/cache"

	"mtls.egress/webhook/internal/paging"
)

// total is the number of Pods of the server. The last page isn't full.
const total = 1201

// server behaves like an API server without WatchList, and records what happened.
type server struct {
	mutex    sync.Mutex
	happened []string
	// expire makes the version of the first list expire after its first page.
	expire bool
	watch  *watch.FakeWatcher
}

func (s *server) notef(format string, values ...any) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.happened = append(s.happened, fmt.Sprintf(format, values...))
}

func (s *server) soFar() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Clone(s.happened)
}

func (s *server) list(_ context.Context, options metav1.ListOptions) (runtime.Object, error) {
	s.notef("list version=%q limit=%d from=%q", options.ResourceVersion, options.Limit, options.Continue)
	if s.expire && options.Continue != "" {
		s.expire = false
		return nil, apierrors.NewResourceExpired("the continue parameter is too old")
	}
	from, _ := strconv.Atoi(options.Continue)
	to := total
	list := &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}}
	if options.Limit > 0 && from+int(options.Limit) < total {
		to = from + int(options.Limit)
		list.Continue = strconv.Itoa(to)
	}
	for n := from; n < to; n++ {
		list.Items = append(list.Items, corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("app-", n), ResourceVersion: "5"},
			Spec:       corev1.PodSpec{NodeName: "node"},
		})
	}
	return list, nil
}

// small is a transform that keeps only the metadata of a Pod. It records the calls for the first
// and the last Pod of each page.
func (s *server) small(object any) (any, error) {
	pod := object.(*corev1.Pod)
	if pod.Spec.NodeName == "" {
		return object, nil
	}
	switch pod.Name {
	case "app-0", "app-499", "app-500", "app-999", "app-1000", "app-1200":
		s.notef("made small: %s", pod.Name)
	}
	return &corev1.Pod{ObjectMeta: pod.ObjectMeta}, nil
}

// informer runs an informer until the test ends, and returns it when it has all Pods.
func (s *server) informer(t *testing.T, transform toolscache.TransformFunc) toolscache.SharedIndexInformer {
	t.Helper()
	clientfeaturestesting.SetFeatureDuringTest(t, clientfeatures.WatchListClient, false)
	s.watch = watch.NewFake()
	informer := paging.NewInformer(&toolscache.ListWatch{
		ListWithContextFunc: s.list,
		WatchFuncWithContext: func(_ context.Context, options metav1.ListOptions) (watch.Interface, error) {
			s.notef("watch version=%q", options.ResourceVersion)
			return s.watch, nil
		},
	}, &corev1.Pod{}, 0, toolscache.Indexers{})
	if err := informer.SetTransform(transform); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	ended := make(chan struct{})
	go func() { defer close(ended); informer.RunWithContext(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	if !toolscache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		t.Fatal("the informer did not sync")
	}
	return informer
}

func TestEachPageIsMadeSmallBeforeTheNextIsAskedFor(t *testing.T) {
	s := &server{}
	informer := s.informer(t, s.small)
	s.watch.Add(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "late", ResourceVersion: "8"},
		Spec:       corev1.PodSpec{NodeName: "node"},
	})
	await(t, "the Pod that came later", func() bool { return len(informer.GetStore().ListKeys()) == total+1 })
	want := []string{
		`list version="" limit=500 from=""`, "made small: app-0", "made small: app-499",
		`list version="" limit=500 from="500"`, "made small: app-500", "made small: app-999",
		`list version="" limit=500 from="1000"`, "made small: app-1000", "made small: app-1200",
		`watch version="7"`,
	}
	if diff := cmp.Diff(want, s.soFar()); diff != "" {
		t.Errorf("what happened (-want +got):\n%s", diff)
	}
	for _, object := range informer.GetStore().List() {
		if pod := object.(*corev1.Pod); pod.Spec.NodeName != "" {
			t.Fatalf("the Pod %s was not made small", pod.Name)
		}
	}
}

func TestAListThatExpiresBeginsAnewAndNeverAsksForAllAtOnce(t *testing.T) {
	s := &server{expire: true}
	informer := s.informer(t, s.small)
	if got := len(informer.GetStore().ListKeys()); got != total {
		t.Errorf("%d Pods, want %d", got, total)
	}
	want := []string{
		`list version="" limit=500 from=""`, "made small: app-0", "made small: app-499",
		`list version="" limit=500 from="500"`,
		`list version="" limit=500 from=""`, "made small: app-0", "made small: app-499",
		`list version="" limit=500 from="500"`, "made small: app-500", "made small: app-999",
		`list version="" limit=500 from="1000"`, "made small: app-1000", "made small: app-1200",
	}
	if diff := cmp.Diff(want, s.soFar()[:len(want)]); diff != "" {
		t.Errorf("what happened (-want +got):\n%s", diff)
	}
}

func TestAnObjectThatCantBeMadeSmallIsAskedForAgain(t *testing.T) {
	s, failures := &server{}, 1
	informer := s.informer(t, func(object any) (any, error) {
		if failures > 0 {
			failures--
			return nil, errors.New("not today")
		}
		return object, nil
	})
	if got := len(informer.GetStore().ListKeys()); got != total {
		t.Errorf("%d Pods, want %d", got, total)
	}
}

func await(t *testing.T, what string, there func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !there(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}
