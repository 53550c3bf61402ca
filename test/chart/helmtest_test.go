package chart

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/installation"
)

// TestHelmTest has no kubelet: the test does what the kubelet would do with the Pod, as its
// account.
func TestHelmTest(t *testing.T) {
	// The chart has the test only with the webhook's Deployment. Its Pods run beside the API server.
	values := []string{"webhook.deployment.enabled=true"}
	running, err := installation.Start(t.Context(), installation.Options{Values: values})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := running.Stop(); err != nil {
			t.Error(err)
		}
	})
	installed := installedRelease{
		cluster: cluster{Server: running.Server, Client: newClient(t, running.Config)},
		command: running.Command,
	}

	said, left, err := installed.helmTest(t, await.Patience)
	if err != nil {
		t.Errorf("Helm: %v", err)
	}
	if want := "a Pod with the target external.system.com in the namespace default is injected\n"; said != want {
		t.Errorf("the test says %q, want %q", said, want)
	}
	if len(left) > 0 {
		t.Errorf("left of the test: %q", left)
	}
	if pods := installed.kubectl(t, "get", "pods", "--namespace=default", "--output=name"); pods != "" {
		t.Errorf("what was asked for as a dry run is there: %s", pods)
	}

	fails := func(t *testing.T, want string) {
		t.Helper()
		said, left, err := installed.helmTest(t, 5*time.Second)
		if err == nil {
			t.Error("Helm takes the test for passed")
		}
		if !strings.HasPrefix(said, "error: "+want) {
			t.Errorf("the test says %q, want it to begin with %q", said, "error: "+want)
		}
		if diff := cmp.Diff([]string{"pod/" + testName}, left); diff != "" {
			t.Errorf("left of the test, for its log (-want +got):\n%s", diff)
		}
	}
	t.Run("a namespace that the webhook doesn't serve", func(t *testing.T) {
		if err := running.Upgrade(t.Context(), append(values, "test.namespace=kube-node-lease")...); err != nil {
			t.Fatal(err)
		}
		fails(t,
			"the webhook is not called for a Pod in the namespace kube-node-lease, so a policy of the chart rejects it: ")
	})
	t.Run("the same without the policy", func(t *testing.T) {
		if err := running.Upgrade(
			t.Context(), append(values, "test.namespace=kube-node-lease", "policy.requireInjected=false")...,
		); err != nil {
			t.Fatal(err)
		}
		await.True(t, "the API server doesn't know the policy any more", func(ctx context.Context) bool {
			return installed.Create(ctx,
				newPod("kube-node-lease", "asks", map[string]string{"mtls.egress/target": "external.system.com"}),
				client.DryRunAll) == nil
		})
		fails(
			t,
			"the API server admits a Pod with the target external.system.com in the namespace "+
				"kube-node-lease, but it is not injected",
		)
	})
	t.Run("a namespace that isn't there", func(t *testing.T) {
		if err := running.Upgrade(t.Context(), append(values, "test.namespace=nowhere")...); err != nil {
			t.Fatal(err)
		}
		if _, _, err := installed.Helm(t.Context(), "test", release, "--namespace", namespace); err == nil ||
			!strings.Contains(err.Error(), `namespaces "nowhere" not found`) {
			t.Errorf("Helm: %v", err)
		}
	})
	upgrade := func() error {
		return running.Upgrade(t.Context(), append(values, "test.afterInstall=true")...)
	}
	t.Run("with test.afterInstall, an upgrade runs the same", func(t *testing.T) {
		said, left, err := installed.whilePodRuns(t, await.Patience, upgrade)
		if err != nil {
			t.Errorf("Helm: %v", err)
		}
		if want := "a Pod with the target external.system.com in the namespace default is injected\n"; said != want {
			t.Errorf("the test says %q, want %q", said, want)
		}
		if len(left) > 0 {
			t.Errorf("left of the test: %q", left)
		}
	})
	t.Run("a webhook that is down", func(t *testing.T) {
		if err := running.Upgrade(t.Context(), values...); err != nil {
			t.Fatal(err)
		}
		if err := running.StopWebhook(); err != nil {
			t.Fatal(err)
		}
		fails(t, "the API server can't call the webhook. Its Pods must be ready")
		_, left, err := installed.whilePodRuns(t, 5*time.Second, upgrade)
		if err == nil || !strings.Contains(err.Error(), "post-upgrade hooks failed") {
			t.Errorf("with test.afterInstall, Helm ends the upgrade with %v", err)
		}
		if diff := cmp.Diff([]string{"pod/" + testName}, left); diff != "" {
			t.Errorf("left of the test, for its log (-want +got):\n%s", diff)
		}
	})
}

// helmTest runs helm test, and the Pod.
func (r *installedRelease) helmTest(t *testing.T, giveUp time.Duration) (said string, left []string, err error) {
	t.Helper()
	return r.whilePodRuns(t, giveUp, func() error {
		_, _, err := r.Helm(t.Context(), "test", release, "--namespace", namespace)
		return err
	})
}

// whilePodRuns runs Helm, and the command of the Pod that Helm creates with the rights that the
// chart gives it, which times out after giveUp. It returns what the Pod would have logged and what
// is left of the test.
func (r *installedRelease) whilePodRuns(
	t *testing.T, giveUp time.Duration, helm func() error,
) (said string, left []string, err error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	logged := make(chan string, 1)
	go func() { logged <- r.runPod(ctx, t, giveUp) }()
	err = helm()
	cancel()
	left = strings.Fields(r.kubectl(t, "get", "pods,serviceaccounts,roles,rolebindings", "--output=name",
		"--all-namespaces", "--selector=app.kubernetes.io/name="+testName))
	slices.Sort(left)
	return <-logged, left, err
}

// runPod waits for the Pod that is not run yet, does what it says, and writes into its status what
// the kubelet would.
func (r *installedRelease) runPod(ctx context.Context, t *testing.T, giveUp time.Duration) string {
	pod := &corev1.Pod{}
	key := client.ObjectKey{Namespace: namespace, Name: testName}
	for r.Get(ctx, key, pod) != nil || pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodPending {
		select {
		case <-ctx.Done():
			return ""
		case <-time.After(20 * time.Millisecond):
		}
	}
	args := append(slices.Clone(pod.Spec.Containers[0].Args), "--timeout="+giveUp.String())
	said, err := r.check(ctx, t.TempDir(), namespace, pod.Spec.ServiceAccountName, args...)
	pod.Status.Phase = corev1.PodSucceeded
	if err != nil {
		pod.Status.Phase = corev1.PodFailed
	}
	if err := r.Status().Update(ctx, pod); err != nil {
		t.Error(err)
	}
	return said
}
