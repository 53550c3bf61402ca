package controller

import (
	"fmt"
	"slices"
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

// TestMetricsSayWhichTargetsAreReadyAndWhoseTheyAre: a target is ready or has a reason. Its team is
// that of its namespace, unless the EgressTarget has the label.
func TestMetricsSayWhichTargetsAreReadyAndWhoseTheyAre(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	w.patch(namespace, map[string]any{"metadata": map[string]any{"labels": map[string]any{"team": "shop"}}})
	running := w.start(controller.Options{TeamLabels: controller.DefaultTeamLabels()})
	w.pod("app", host)
	w.pod("other", "other.system.com") // has no Secret
	target := w.ready()
	labels := func(of, label, value string) string {
		return fmt.Sprintf("{host=%q, namespace=%q, %s=%q}", of, w.namespace, label, value)
	}
	w.metrics(running, "mtls_egress_target_ready", map[string]float64{
		labels(host, "reason", "Ready"): 1, labels("other.system.com", "reason", "SecretMissing"): 0,
	})
	w.metrics(running, "mtls_egress_target_owner", map[string]float64{
		labels(host, "team", "shop"): 1, labels("other.system.com", "team", "shop"): 1,
	})
	w.patch(target, map[string]any{"metadata": map[string]any{"labels": map[string]any{"team": "payments"}}})
	w.metrics(running, "mtls_egress_target_owner", map[string]float64{
		labels(host, "team", "payments"): 1, labels("other.system.com", "team", "shop"): 1,
	})
	w.patch(namespace, map[string]any{"metadata": map[string]any{"labels": map[string]any{"team": nil}}})
	w.metrics(running, "mtls_egress_target_owner", map[string]float64{labels(host, "team", "payments"): 1})
	if problems, err := testutil.GatherAndLint(running.registry); err != nil || len(problems) > 0 {
		t.Errorf("the metrics have problems %v (error %v)", problems, err)
	}
}

// metrics waits until a gauge has the values for the test's namespace, by labels in their order.
func (w *world) metrics(running *running, name string, want map[string]float64) {
	w.Helper()
	await.Eventually(w, "", func() error {
		families, err := running.registry.Gather()
		if err != nil {
			return err
		}
		got := map[string]float64{}
		for _, family := range families {
			for _, metric := range family.GetMetric() {
				var labels []string
				for _, label := range metric.GetLabel() {
					labels = append(labels, fmt.Sprintf("%s=%q", label.GetName(), label.GetValue()))
				}
				if family.GetName() == name && slices.Contains(labels, fmt.Sprintf("namespace=%q", w.namespace)) {
					got["{"+strings.Join(labels, ", ")+"}"] = metric.GetGauge().GetValue()
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("%s (-want +got):\n%s", name, diff)
		}
		return nil
	})
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
