package controller

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/await"
)

func TestAPodWithoutASidecarIsToldOfOnce(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	running := w.start(controller.Options{})
	without := w.pod("without", host, withoutSidecar)
	native := w.pod("native", host, withoutSidecar, func(pod *corev1.Pod) {
		pod.Spec.InitContainers = []corev1.Container{{Name: egress.ProxyContainer, Image: "proxy"}}
	})
	with := w.pod("with", host)
	w.settled(v1alpha1.ConditionReady, metav1.ConditionFalse, "NoSidecar")
	w.patch(without, map[string]any{"metadata": map[string]any{"labels": map[string]any{"changed": "yes"}}})
	w.metricIs(running, 1)
	await.Eventually(w, "", func() error {
		if diff := cmp.Diff([]string{"Warning NoSidecar"}, w.events(without)); diff != "" {
			return fmt.Errorf("the events (+) aren't as wanted (-):\n%s", diff)
		}
		return nil
	})
	for _, pod := range []*corev1.Pod{native, with} {
		if events := w.events(pod); len(events) > 0 {
			t.Errorf("the Pod %s has a sidecar, but events %v", pod.Name, events)
		}
	}
	if noted := running.requests.matching(
		func(line string) bool { return strings.HasPrefix(line, "PATCH ") && strings.Contains(line, "/events") },
	); len(noted) > 0 {
		t.Errorf("events were repeated: %q", noted)
	}
	w.remove(without)
	w.metricIs(running, 0)
	w.ready()
}

// metricIs waits until the metric has the number of Pods without a sidecar in the test's namespace.
func (w *world) metricIs(running *running, count int) {
	w.Helper()
	w.gaugeOfNamespace(running, "mtls_egress_pods_without_sidecar", count)
}

// gaugeOfNamespace waits until a gauge whose only label is the namespace has the value for the
// test's namespace.
func (w *world) gaugeOfNamespace(running *running, name string, count int) {
	w.Helper()
	w.gauge(running, name, w.namespace, count)
}

// gauge waits until a gauge with one label has the value.
func (w *world) gauge(running *running, name, label string, count int) {
	w.Helper()
	await.Eventually(w, "", func() error {
		families, err := running.registry.Gather()
		if err != nil {
			return err
		}
		got := 0
		for _, family := range families {
			for _, metric := range family.GetMetric() {
				if family.GetName() == name && metric.GetLabel()[0].GetValue() == label {
					got = int(metric.GetGauge().GetValue())
				}
			}
		}
		if got != count {
			return fmt.Errorf("%s is %d, want %d", name, got, count)
		}
		return nil
	})
}

func TestTargetsAreCountedByReadiness(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	running := w.start(controller.Options{})
	w.pod("app", host)
	w.ready()
	if count, err := testutil.GatherAndCount(running.registry, "mtls_egress_targets"); err != nil || count == 0 {
		t.Errorf("%d series of mtls_egress_targets (error %v), want some", count, err)
	}
	if problems, err := testutil.GatherAndLint(running.registry); err != nil || len(problems) > 0 {
		t.Errorf("the metrics have problems %v (error %v)", problems, err)
	}
}

// TestPodsPastTheWebhookAreCounted: those that run, ask for a target and lack the label, wherever
// they are.
func TestPodsPastTheWebhookAreCounted(t *testing.T) {
	w := newWorld(t)
	running := w.start(controller.Options{SurveyInterval: 100 * time.Millisecond})
	unlabeled := func(pod *corev1.Pod) { pod.Labels = nil }
	past := w.pod("past", host, unlabeled)
	w.pod("past-too", host, unlabeled)
	w.pod("injected", host)
	w.pod("asks-for-nothing", host, unlabeled, func(pod *corev1.Pod) { pod.Annotations = nil })
	ended := w.pod("ended", host, unlabeled)
	ended.Status.Phase = corev1.PodSucceeded
	if err := w.Status().Update(t.Context(), ended); err != nil {
		t.Fatal(err)
	}
	w.gaugeOfNamespace(running, "mtls_egress_pods_not_injected", 2)
	w.remove(past)
	w.gaugeOfNamespace(running, "mtls_egress_pods_not_injected", 1)
}
