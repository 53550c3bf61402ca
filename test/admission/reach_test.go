package admission_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestOnlyAnnotatedPodsReachTheWebhook(t *testing.T) {
	w := newWorld(t)
	start := w.admissions()
	for n := range 100 {
		w.create(plain(fmt.Sprintf("plain-%d", n)))
	}
	if got := w.admissions() - start; got != 0 {
		t.Errorf("the webhook was asked %v times about 100 plain Pods, want never", got)
	}
	injected := w.admissions("kind=Pod", "decision=injected")
	for n := range 10 {
		w.create(annotated(fmt.Sprintf("annotated-%d", n)))
	}
	if got := w.admissions() - start; got != 10 {
		t.Errorf("the webhook was asked %v times about 10 annotated Pods, want 10 times", got)
	}
	if got := w.admissions("kind=Pod", "decision=injected") - injected; got != 10 {
		t.Errorf("%v Pods were injected, want 10", got)
	}

	// What is done to a Pod that exists never reaches it, nor do plain workloads.
	start = w.admissions()
	pod := &corev1.Pod{}
	w.read(pod, "annotated-0")
	pod.Labels["note"] = "mine"
	if err := w.Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	w.remove(pod)
	for _, kind := range kinds() {
		w.kubectlWith(kind.manifest(), "apply", "--filename=-")
		w.kubectl("label", kind.resource+"/shop", "note=mine")
		w.kubectl("delete", kind.resource+"/shop")
	}
	if got := w.admissions() - start; got != 0 {
		t.Errorf("the webhook was asked %v times, want never", got)
	}
}
