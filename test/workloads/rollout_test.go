package workloads_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/test/await"
)

// rollout is a Rollout with a Pod template, and the annotations of its metadata.
const rollout = `apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: shop, annotations: %s}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  strategy: {canary: {}}
  template:
    metadata: {labels: {app: shop}}
    spec: {containers: [{name: app, image: app}]}
`

// rolloutOfDeployment is a Rollout that uses the Pod template of a Deployment. The annotations are
// those of the Deployment.
const rolloutOfDeployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, annotations: %s}
spec:
  replicas: 0
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec: {containers: [{name: app, image: app}]}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: shop}
spec:
  replicas: 2
  strategy: {canary: {}}
  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: shop}
`

// rolloutStatus is what a Rollout reports about the template that it has seen.
type rolloutStatus struct {
	Status struct {
		CurrentPodHash             string
		ObservedGeneration         string
		WorkloadObservedGeneration string
	}
}

func (s rolloutStatus) observedRollout() string    { return s.Status.ObservedGeneration }
func (s rolloutStatus) observedDeployment() string { return s.Status.WorkloadObservedGeneration }

// TestARolloutHasOneReplicaSetForEachTarget changes and removes the annotation of a workload, whose
// controller has to create one ReplicaSet each time, and no more.
func TestARolloutHasOneReplicaSetForEachTarget(t *testing.T) {
	kinds := map[string]struct {
		manifest, annotated string
		observed            func(rolloutStatus) string
	}{
		"a Rollout with a template":        {rollout, "rollout/shop", rolloutStatus.observedRollout},
		"a Rollout that uses a Deployment": {rolloutOfDeployment, "deployment/shop", rolloutStatus.observedDeployment},
	}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for _, step := range []struct {
				what, host string
				want       []string // the hosts of the ReplicaSets, the current one first, the others sorted
			}{
				{"created", host, []string{host}},
				{"applied again", host, []string{host}},
				{"another host", other, []string{other, host}},
				{"no annotation", "", []string{"", other, host}},
				{"the first host again", host, []string{host, "", other}},
			} {
				w.submit("apply", fmt.Sprintf(kind.manifest, asks(step.host)))
				w.awaitObserved(kind.annotated, kind.observed)
				w.reconcileRollout(step.what)
				var want []map[string]string
				for _, host := range step.want {
					want = append(want, propagated(host))
				}
				if diff := cmp.Diff(want, w.annotationsOfReplicaSets()); diff != "" {
					t.Errorf("%s: annotations in the ReplicaSets' templates (-want +got):\n%s", step.what, diff)
				}
			}
		})
	}
}

// TestARolloutFromBeforeTheInstallationIsLeftAlone scales a Rollout that the webhook has never
// seen. Its controller has copied the annotation to the metadata of the ReplicaSet. If the webhook
// propagated it there, the template of the ReplicaSet would no longer be a copy of the Rollout's.
func TestARolloutFromBeforeTheInstallationIsLeftAlone(t *testing.T) {
	w := &world{T: t, namespace: earlier}
	w.needPrograms()
	const replicas = 3
	w.kubectl("scale", "rollout/shop", "--replicas="+strconv.Itoa(replicas)) // not an update of the Rollout itself
	await.Eventually(w, "the controller scales the ReplicaSet", func() error {
		for _, replicaSet := range w.replicaSets() {
			if *replicaSet.Spec.Replicas == replicas {
				return nil
			}
		}
		return errors.New("no ReplicaSet is scaled")
	})
	for _, step := range []struct {
		what string
		want []map[string]string
	}{
		{"scaled", []map[string]string{propagated("")}},
		{"updated", []map[string]string{propagated(host), propagated("")}},
		{"updated again", []map[string]string{propagated(host), propagated("")}},
	} {
		if step.what != "scaled" {
			w.reconcileRollout(step.what)
		}
		w.awaitObserved("rollout/shop", rolloutStatus.observedRollout)
		if diff := cmp.Diff(step.want, w.annotationsOfReplicaSets()); diff != "" {
			t.Errorf("%s: annotations in the ReplicaSets' templates (-want +got):\n%s", step.what, diff)
		}
	}
}

// awaitObserved waits until the Rollout has observed the template of the annotated object.
func (w *world) awaitObserved(annotated string, observed func(rolloutStatus) string) {
	w.Helper()
	await.Eventually(w, "the Rollout observes "+annotated, func() error {
		var object metav1.PartialObjectMetadata
		w.read(annotated, &object) // each time, as the controller may update it too
		var found rolloutStatus
		w.read("rollout/shop", &found)
		if generation := strconv.FormatInt(object.Generation, 10); observed(found) != generation {
			return fmt.Errorf("the generation is %s, the Rollout has %+v", generation, found)
		}
		return nil
	})
}

// reconcileRollout has the Rollout reconciled once more: it changes a note in its metadata, and
// waits until the controller has copied the note to the current ReplicaSet.
func (w *world) reconcileRollout(note string) {
	w.Helper()
	w.kubectl("annotate", "rollout/shop", "--overwrite", "note="+note)
	await.Eventually(w, "the controller copies the note", func() error {
		for _, replicaSet := range w.replicaSets() {
			if replicaSet.Annotations["note"] == note {
				return nil
			}
		}
		return errors.New("no ReplicaSet has the note")
	})
}

// replicaSets returns the ReplicaSets, the current one first, the others sorted by host.
func (w *world) replicaSets() []appsv1.ReplicaSet {
	w.Helper()
	var found rolloutStatus
	w.read("rollout/shop", &found)
	list, err := installed.Admin.AppsV1().ReplicaSets(w.namespace).List(w.Context(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	order := func(replicaSet appsv1.ReplicaSet) string {
		if strings.HasSuffix(replicaSet.Name, found.Status.CurrentPodHash) {
			return ""
		}
		return "then " + replicaSet.Spec.Template.Annotations["mtls.egress/target"]
	}
	slices.SortFunc(list.Items, func(a, b appsv1.ReplicaSet) int { return strings.Compare(order(a), order(b)) })
	return list.Items
}

func (w *world) annotationsOfReplicaSets() []map[string]string {
	w.Helper()
	var found []map[string]string
	for _, replicaSet := range w.replicaSets() {
		found = append(found, ours(replicaSet.Spec.Template.Annotations))
	}
	return found
}
