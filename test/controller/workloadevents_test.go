package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/test/await"
)

// TestWorkloadsShowTheProblemsOfTheirTargets: kubectl describe selects events by the UID of the
// workload, which no Pod of a Deployment has.
func TestWorkloadsShowTheProblemsOfTheirTargets(t *testing.T) {
	w := newWorld(t)
	deployment := w.owner("apps/v1", "Deployment", "shop", nil)
	replicaSet := w.owner("apps/v1", "ReplicaSet", "shop-5d4f", deployment)
	cronJob := w.owner("batch/v1", "CronJob", "nightly", nil)
	job := w.owner("batch/v1", "Job", "nightly-1", cronJob)
	hashed := func(pod *corev1.Pod) { pod.Labels["pod-template-hash"] = "5d4f" }
	w.pod("shop-5d4f-a", host, ownedBy(replicaSet), hashed)
	w.pod("shop-5d4f-b", host, ownedBy(replicaSet), hashed)
	w.pod("nightly-1-a", host, ownedBy(job))
	// The account may not read Leases.
	lease := w.owner("coordination.k8s.io/v1", "Lease", "lock", nil)
	w.pod("locked", host, ownedBy(lease))

	w.start(controller.Options{ReadOwners: true})
	for _, workload := range []client.Object{deployment, cronJob, lease} {
		w.eventsAre(workload, "Warning SecretMissing")
		if shown := w.describe(workload); !strings.Contains(shown, "target "+host+": the Secret "+secret) {
			t.Errorf("kubectl describe doesn't show the event:\n%s", shown)
		}
	}
	// A workload that comes later has the same problem, and the others know it already.
	later := w.owner("batch/v1", "Job", "later", nil)
	w.pod("later-a", host, ownedBy(later), withoutSidecar)
	w.eventsAre(later, "Warning NoSidecar", "Warning SecretMissing")
	w.credential(secret)
	w.settled("Ready", "False", "NoSidecar")
	w.eventsAre(deployment, "Warning SecretMissing")
	for _, between := range []client.Object{replicaSet, job} {
		if events := w.events(between); len(events) > 0 {
			t.Errorf("%s is not the top of its chain, but has %q", between.GetName(), events)
		}
	}
}

// TestWorkloadsAreNamedWithoutTheRightToReadThem: kubectl get events shows such an event.
func TestWorkloadsAreNamedWithoutTheRightToReadThem(t *testing.T) {
	w := newWorld(t)
	replicaSet := w.owner("apps/v1", "ReplicaSet", "shop-5d4f", w.owner("apps/v1", "Deployment", "shop", nil))
	w.pod("shop-5d4f-a", host, ownedBy(replicaSet), func(pod *corev1.Pod) { pod.Labels["pod-template-hash"] = "5d4f" })
	running := w.start(controller.Options{})
	await.Eventually(w, "", func() error {
		var list eventsv1.EventList
		if err := w.List(t.Context(), &list, client.InNamespace(w.namespace)); err != nil {
			return err
		}
		for _, event := range list.Items {
			if event.Regarding.Kind == "Deployment" && event.Regarding.Name == "shop" && event.Reason == "SecretMissing" {
				return nil
			}
		}
		return fmt.Errorf("no event on the Deployment among %d", len(list.Items))
	})
	if read := running.requests.matching(readsOwners); len(read) > 0 {
		t.Errorf("owners were read: %q", read)
	}
}

// eventsAre waits until the object has these events, in any order.
func (w *world) eventsAre(object client.Object, want ...string) {
	w.Helper()
	await.Eventually(w, "", func() error {
		got := w.events(object)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("the events on %s (+) aren't as wanted (-):\n%s", object.GetName(), diff)
		}
		return nil
	})
}
