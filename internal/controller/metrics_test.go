package controller

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/informers"
)

func TestPodsWaitForTargets(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	of := labelOfPods{"shop", egress.HostLabel("external.system.com")}
	pod := func(after time.Duration, phase corev1.PodPhase) *informers.Pod {
		return informers.NewPod(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace:         "shop",
				CreationTimestamp: metav1.NewTime(start.Add(after)),
				Labels:            map[string]string{of.label: "true", "app": "shop"},
			},
			Status: corev1.PodStatus{Phase: phase},
		}, egress.Sinkhole{})
	}
	programmed := func(status metav1.ConditionStatus, after time.Duration) *metav1.Condition {
		return &metav1.Condition{Status: status, LastTransitionTime: metav1.NewTime(start.Add(after))}
	}
	pods := []*informers.Pod{
		pod(2*time.Minute, corev1.PodRunning),
		pod(time.Minute, corev1.PodPending),
		pod(0, corev1.PodSucceeded),
		pod(0, corev1.PodFailed),
	}
	tests := map[string]struct {
		programming
		want map[labelOfPods]waiting
	}{
		"not for a programmed target": {
			programming{of: programmed(metav1.ConditionTrue, 0)}, map[labelOfPods]waiting{},
		},
		"for one without an EgressTarget, since the oldest Pod was created": {
			programming{}, map[labelOfPods]waiting{of: {2, start.Add(time.Minute)}},
		},
		"for one that was not reconciled yet": {
			programming{of: nil}, map[labelOfPods]waiting{of: {2, start.Add(time.Minute)}},
		},
		"for one that never was programmed": {
			programming{of: programmed(metav1.ConditionFalse, 0)},
			map[labelOfPods]waiting{of: {2, start.Add(time.Minute)}},
		},
		"since it is no longer programmed": {
			programming{of: programmed(metav1.ConditionFalse, time.Hour)},
			map[labelOfPods]waiting{of: {2, start.Add(time.Hour)}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.waiting(pods), cmp.AllowUnexported(waiting{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheTeamOfATarget(t *testing.T) {
	keys := []string{"team", "app.kubernetes.io/part-of"}
	type labels = map[string]string
	tests := map[string]struct {
		egressTarget, namespace labels
		want                    string
	}{
		"nobody's":                           {labels{"app": "shop"}, labels{"kubernetes.io/metadata.name": "shop"}, ""},
		"the one of the namespace":           {nil, labels{"team": "shop"}, "shop"},
		"the one of the EgressTarget":        {labels{"team": "pay"}, labels{"team": "shop"}, "pay"},
		"an EgressTarget before a namespace": {labels{"app.kubernetes.io/part-of": "pay"}, labels{"team": "shop"}, "pay"},
		"the first label first":              {nil, labels{"team": "shop", "app.kubernetes.io/part-of": "pay"}, "shop"},
		"the second without the first":       {nil, labels{"app.kubernetes.io/part-of": "pay"}, "pay"},
		"an empty label counts as missing":   {labels{"team": ""}, labels{"team": "shop"}, "shop"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := team(keys, test.egressTarget, test.namespace); got != test.want {
				t.Errorf("team %q, want %q", got, test.want)
			}
		})
	}
}
