package cli

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/egress"
)

// answers simulates an API server that returns these responses in order and repeats the last one. A
// response is a mutation of the Pod or a refusal.
type answers struct {
	client.Writer
	given []func(*corev1.Pod) error
	tries int
}

func (a *answers) Create(_ context.Context, object client.Object, _ ...client.CreateOption) error {
	answer := a.given[min(a.tries, len(a.given)-1)]
	a.tries++
	return answer(object.(*corev1.Pod))
}

// test/chart tests real responses of the API server. These tests use sequences that it can't
// produce.
func TestAdmissionCheckTriesAgainWhatPasses(t *testing.T) {
	refuse := func(text string) func(*corev1.Pod) error {
		return func(*corev1.Pod) error { return errors.New(text) }
	}
	inject := func(pod *corev1.Pod) error {
		pod.Labels = map[string]string{"mtls.egress/injected": "true"}
		pod.Spec.HostAliases = []corev1.HostAlias{
			{IP: egress.Sinkhole{}.Address("external.system.com").String(), Hostnames: []string{"external.system.com"}},
		}
		return nil
	}
	tests := map[string]struct {
		given    []func(*corev1.Pod) error
		patience time.Duration
		tries    int
		want     string
	}{
		"injected immediately": {given: []func(*corev1.Pod) error{inject}, patience: time.Minute, tries: 1},
		"a webhook that was just installed": {
			given: []func(*corev1.Pod) error{
				refuse(`Internal error occurred: failed calling webhook "pods.mtls.egress": x509: certificate ` +
					`signed by unknown authority`),
				inject,
			},
			patience: time.Minute,
			tries:    2,
		},
		"a webhook that stays away": {
			given: []func(*corev1.Pod) error{
				refuse(`Internal error occurred: failed calling webhook "pods.mtls.egress": connection refused`),
			},
			patience: time.Millisecond,
			tries:    1,
			want:     "the API server can't call the webhook. Its Pods must be ready",
		},
		"an unchanged Pod": {
			given: []func(*corev1.Pod) error{
				func(*corev1.Pod) error { return nil },
			},
			patience: time.Millisecond,
			tries:    1,
			want: "the API server admits a Pod with the target external.system.com in the namespace " +
				"project, but it is not injected",
		},
		"a label without the alias": {
			given: []func(*corev1.Pod) error{func(pod *corev1.Pod) error {
				pod.Labels = map[string]string{"mtls.egress/injected": "true"}
				return nil
			}},
			patience: time.Millisecond,
			tries:    1,
			want: "the API server admits a Pod with the target external.system.com in the namespace " +
				"project, but it is not injected",
		},
		"a refusal of the webhook's doesn't pass": {
			given: []func(*corev1.Pod) error{
				refuse(`admission webhook "pods.mtls.egress" denied the request: no`),
				inject,
			},
			patience: time.Minute,
			tries:    1,
			want:     "the webhook rejects the target external.system.com in the namespace project.",
		},
		"another webhook's refusal is permanent": {
			given: []func(*corev1.Pod) error{
				refuse(`admission webhook "images.example.com" denied the request: no`),
				inject,
			},
			patience: time.Minute,
			tries:    1,
			want: `the API server rejects a Pod in the namespace project: admission webhook ` +
				`"images.example.com" denied the request: no`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := &answers{given: test.given}
			var stdout strings.Builder
			err := checkAdmission(t.Context(), server,
				probe{namespace: "project", host: "external.system.com", image: "app"}, test.patience, &stdout)
			if server.tries != test.tries {
				t.Errorf("%d attempts, want %d", server.tries, test.tries)
			}
			switch {
			case test.want == "":
				if want := "a Pod with the target external.system.com in the namespace project is injected\n"; err != nil ||
					stdout.String() != want {
					t.Errorf("error %v, printed %q, want %q", err, stdout.String(), want)
				}
			case err == nil || !strings.HasPrefix(err.Error(), test.want):
				t.Errorf("error %v, want the prefix %q", err, test.want)
			}
		})
	}
}
