package workloads_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/test/await"
)

// jobSet is a JobSet with annotations in its metadata and an image. It has all fields for which
// JobSet has defaults. JobSet sets them only when an object is created: later, it refuses an object
// without them, or fails.
const jobSet = `apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {name: shop, annotations: %s}
spec:
  network: {enableDNSHostnames: true, publishNotReadyAddresses: true}
  startupPolicy: {startupPolicyOrder: AnyOrder}
  successPolicy: {operator: All}
  replicatedJobs:
  - name: leader
    groupName: default
    replicas: 1
    template: &job
      spec:
        completionMode: Indexed
        template: {spec: {restartPolicy: Never, containers: [{name: app, image: %s}]}}
  - name: workers
    groupName: default
    replicas: 2
    template: *job
`

// TestAJobSetKeepsItsTarget applies an annotated JobSet and changes it. JobSet refuses changes of
// its Pod templates.
func TestAJobSetKeepsItsTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.submit("apply", fmt.Sprintf(jobSet, asks(host), "app"))
	want := map[string]map[string]string{}
	for _, job := range []string{"shop-leader-0", "shop-workers-0", "shop-workers-1"} {
		want[job] = propagated(host)
	}
	await.Eventually(w, "the Jobs are created", func() error {
		if diff := cmp.Diff(want, w.annotationsOfJobs()); diff != "" {
			return fmt.Errorf("annotations in the Jobs' templates (-want +got):\n%s", diff)
		}
		return nil
	})

	const immutable = "Warning: the Pod template of an existing JobSet is immutable, so its Pods don't change; " +
		"delete the JobSet and create it again"
	for _, step := range []struct {
		what, verb, host string
		warns            bool
	}{
		{"applied again", "apply", host, false},
		{"replaced by the same", "replace", host, false},
		{"applied with another host", "apply", other, true},
		{"applied with another host again", "apply", other, true},
		{"applied without the annotation", "apply", "", true},
		{"applied as in the beginning", "apply", host, false},
	} {
		said := w.submit(step.verb, fmt.Sprintf(jobSet, asks(step.host), "app"))
		if strings.Contains(said, immutable) != step.warns {
			t.Errorf("%s: kubectl said %q; want the warning: %t", step.what, said, step.warns)
		}
		if diff := cmp.Diff([]map[string]string{propagated(host), propagated(host)}, w.annotationsOfJobSet()); diff != "" {
			t.Errorf("%s: annotations in the JobSet's templates (-want +got):\n%s", step.what, diff)
		}
	}
	if diff := cmp.Diff(want, w.annotationsOfJobs()); diff != "" {
		t.Errorf("annotations in the Jobs' templates after the changes (-want +got):\n%s", diff)
	}

	_, err := installed.Submit(t.Context(), "apply", w.namespace, fmt.Sprintf(jobSet, asks(host), "app:2"))
	if err == nil || !strings.Contains(err.Error(), refusedByJobSet) {
		t.Errorf("another image: error %v, want it refused by JobSet", err)
	}
}

// annotationsOfJobSet returns the annotations in the Pod templates of the JobSet.
func (w *world) annotationsOfJobSet() []map[string]string {
	w.Helper()
	var jobSet struct {
		Spec struct {
			ReplicatedJobs []struct{ Template batchv1.JobTemplateSpec }
		}
	}
	w.read("jobset/shop", &jobSet)
	var found []map[string]string
	for _, job := range jobSet.Spec.ReplicatedJobs {
		found = append(found, ours(job.Template.Spec.Template.Annotations))
	}
	return found
}

// annotationsOfJobs returns the annotations in the templates of the Jobs by their names.
func (w *world) annotationsOfJobs() map[string]map[string]string {
	w.Helper()
	jobs, err := installed.Admin.BatchV1().Jobs(w.namespace).List(w.Context(), metav1.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	found := map[string]map[string]string{}
	for _, job := range jobs.Items {
		found[job.Name] = ours(job.Spec.Template.Annotations)
	}
	return found
}
