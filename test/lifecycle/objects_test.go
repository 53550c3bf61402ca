package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/test/scene"
)

// allObjects names every object of every kind in the cluster, but for events, which the API server
// removes after an hour.
func allObjects(ctx context.Context, s *scene.Scene) ([]string, error) {
	lists, err := s.Client.Discovery().ServerPreferredResources()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, list := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list"}}, lists) {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, resource := range list.APIResources {
			if resource.Kind == "Event" {
				continue
			}
			found, err := s.Dynamic.Resource(version.WithResource(resource.Name)).List(ctx, metav1.ListOptions{})
			if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
				continue // It went meanwhile: its CRD was deleted.
			}
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", resource.Name, err)
			}
			for i := range found.Items {
				names = append(names,
					strings.Join([]string{version.Group, resource.Kind, found.Items[i].GetNamespace(), found.Items[i].GetName()}, " "))
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// settledObjects waits until no object has come or gone for two seconds: Istio and the cluster's
// own controllers add to every namespace.
func settledObjects(t *testing.T, s *scene.Scene) (names []string) {
	t.Helper()
	must(t, scene.Until(t.Context(), "objects that stay the same", func(ctx context.Context) (err error) {
		before, err := allObjects(ctx, s)
		if err != nil {
			return err
		}
		time.Sleep(2 * time.Second)
		if names, err = allObjects(ctx, s); err == nil && !slices.Equal(before, names) {
			err = errors.New("(-before +after):\n" + cmp.Diff(before, names))
		}
		return err
	}))
	return names
}

// leftSince waits until the objects are those of before and the expected ones; else it says what is
// missing or left.
func leftSince(t *testing.T, s *scene.Scene, before []string, expected ...string) {
	t.Helper()
	want := slices.Sorted(slices.Values(slices.Concat(before, expected)))
	diff := ""
	err := scene.Until(t.Context(), "what was there before the release", func(ctx context.Context) error {
		now, err := allObjects(ctx, s)
		if err != nil {
			return err
		}
		if diff = cmp.Diff(want, now); diff != "" {
			return errors.New("other objects")
		}
		return nil
	})
	if err != nil {
		t.Errorf("%v\nobjects of the cluster (-want +left):\n%s", err, diff)
	}
}

// generated are the objects that were made for targets: the Istio objects whole, and the
// EgressTargets without their status, which counts Pods.
func generated(t *testing.T, s *scene.Scene, namespace string) []unstructured.Unstructured {
	t.Helper()
	istio := schema.GroupVersion{Group: "networking.istio.io", Version: "v1"}
	var all []unstructured.Unstructured
	for _, resource := range []schema.GroupVersionResource{
		istio.WithResource("serviceentries"), istio.WithResource("virtualservices"),
		istio.WithResource("destinationrules"), istio.WithResource("sidecars"),
		v1alpha1.GroupVersion().WithResource("egresstargets"),
	} {
		list, err := s.Dynamic.Resource(resource).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
		must(t, err)
		for _, object := range list.Items {
			if object.GetKind() == v1alpha1.Kind {
				unstructured.RemoveNestedField(object.Object, "status")
				object.SetResourceVersion("")
				object.SetManagedFields(nil)
			}
			all = append(all, object)
		}
	}
	if len(all) < 5 {
		t.Fatalf("%d objects are generated in %s, want the EgressTarget, its three objects and the anchor",
			len(all), namespace)
	}
	return all
}

// life is what must not change of a Pod that runs.
type life struct {
	UID        string
	Containers map[string]metav1.Time
	Restarts   int32
}

func lifeOf(t *testing.T, s *scene.Scene, pod *corev1.Pod) life {
	t.Helper()
	now, err := s.Client.CoreV1().Pods(pod.Namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
	must(t, err)
	found := life{UID: string(now.UID), Containers: map[string]metav1.Time{}}
	for _, status := range slices.Concat(now.Status.InitContainerStatuses, now.Status.ContainerStatuses) {
		found.Restarts += status.RestartCount
		switch {
		case status.State.Running != nil:
			found.Containers[status.Name] = status.State.Running.StartedAt
		case status.State.Terminated != nil:
			found.Containers[status.Name] = status.State.Terminated.StartedAt
		}
	}
	return found
}
