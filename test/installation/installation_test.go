package installation_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/installation"
)

func TestReplicasAreReplacedOneByOneWithoutARefusedPodAndNothingIsLeft(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var steps []string
	i, err := installation.Start(t.Context(), installation.Options{
		Replicas:    2,
		Controllers: 2,
		Values:      []string{"webhook.deployment.shutdownDelay=3s"},
		Say:         func(step string) { steps = append(steps, step) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Stop(); err != nil {
			t.Error(err)
		}
	})
	want := []string{
		"starting etcd and kube-apiserver", "building the program", "installing Istio's CRDs",
		"installing the chart with Helm",
		"starting webhook and controller beside the API server",
	}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}

	created := 0
	create := func() {
		t.Helper()
		_, err := i.Admin.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				GenerateName: "shop-",
				Annotations:  map[string]string{"mtls.egress/target": "external.system.com"},
			},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Errorf("Pod %d: %v", created, err)
		}
		created++
	}
	for _, replica := range i.Replicas {
		stopped := make(chan error, 1)
		go func() { stopped <- replica.Stop() }()
		for replica.Running() {
			create()
		}
		if err := <-stopped; err != nil {
			t.Fatal(err)
		}
		create()
		if err := i.StartWebhook(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d Pods were created while two replicas were replaced", created)
	before, err := i.Metric(t.Context(), "mtls_egress_admission_requests_total",
		map[string]string{"kind": "Pod", "decision": "injected"})
	if err != nil {
		t.Fatal(err)
	}
	create()
	after, err := i.Metric(t.Context(), "mtls_egress_admission_requests_total",
		map[string]string{"kind": "Pod", "decision": "injected"})
	if err != nil || after != before+1 {
		t.Errorf("the replicas injected %v Pods more (error %v), want 1", after-before, err)
	}

	pids := apiserver.Processes(t, i.Dir)
	if len(pids) != 6 {
		t.Errorf("processes %v: want etcd, kube-apiserver, two webhooks and two controllers", pids)
	}
	if err := i.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is still there after Stop: %v", pid, err)
		}
	}
	wantNothing(t)
}

func TestAStartThatFailsMidwayLeavesNothingAndSaysWhy(t *testing.T) {
	tests := map[string]struct{ value, want string }{
		"Helm refuses the values":     {"log.level=loud", "at '/log/level': value must be one of"},
		"the webhook ends at once":    {"webhook.deployment.extraArgs={--no-such-flag}", "has no flag --no-such-flag"},
		"the controller ends at once": {"controller.deployment.extraArgs={--no-such-flag}", "has no flag --no-such-flag"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			i, err := installation.Start(t.Context(), installation.Options{Values: []string{test.value}})
			if err == nil {
				t.Fatalf("started, error on stop: %v", i.Stop())
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not contain %q", err, test.want)
			}
			wantNothing(t)
		})
	}
}

func TestAnInterruptedStartLeavesNothing(t *testing.T) {
	for _, step := range []string{"building the program", "starting webhook and controller beside the API server"} {
		t.Run(step, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			i, err := installation.Start(ctx, installation.Options{Say: func(begun string) {
				if begun == step {
					cancel()
				}
			}})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want that it was interrupted", err)
			}
			if err == nil {
				t.Fatal(i.Stop())
			}
			wantNothing(t)
		})
	}
}
