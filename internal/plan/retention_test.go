package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

func TestRetention(t *testing.T) {
	ours := v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{
		Labels: map[string]string{egress.LabelManagedBy: egress.ValueManagedBy},
		ManagedFields: []metav1.ManagedFieldsEntry{
			{Manager: egress.ValueManagedBy}, {Manager: egress.ValueManagedBy, Subresource: "status"},
		},
	}}
	unused := *ours.DeepCopy()
	unused.Status.UnusedSince = &metav1.Time{Time: noon().Add(-9 * time.Minute)}
	users := *ours.DeepCopy()
	users.Labels = nil
	relabeled := *ours.DeepCopy()
	relabeled.Labels[egress.LabelManagedBy] = "Helm"
	adopted := *ours.DeepCopy()
	adopted.ManagedFields = append(adopted.ManagedFields, metav1.ManagedFieldsEntry{Manager: "kubectl-edit"})
	otherStatus := *ours.DeepCopy()
	otherStatus.ManagedFields = append(
		otherStatus.ManagedFields, metav1.ManagedFieldsEntry{Manager: "kubectl-edit", Subresource: "status"},
	)

	type result struct {
		Since *metav1.Time
		Left  time.Duration
	}
	now := &metav1.Time{Time: noon()}
	tests := map[string]struct {
		egressTarget v1alpha1.EgressTarget
		pods         int
		kept         time.Duration
		want         result
	}{
		"in use":                           {ours, 1, 10 * time.Minute, result{}},
		"in use again":                     {unused, 1, 10 * time.Minute, result{}},
		"unused from now on":               {ours, 0, 10 * time.Minute, result{now, 10 * time.Minute}},
		"unused for a while":               {unused, 0, 10 * time.Minute, result{unused.Status.UnusedSince, time.Minute}},
		"unused for long enough":           {unused, 0, 5 * time.Minute, result{unused.Status.UnusedSince, -4 * time.Minute}},
		"a user's":                         {users, 0, 0, result{}},
		"one that another tool took over":  {relabeled, 0, 0, result{}},
		"one that a user wrote to":         {adopted, 0, 0, result{}},
		"one whose status a user wrote to": {otherStatus, 0, 10 * time.Minute, result{now, 10 * time.Minute}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got result
			got.Since, got.Left = Retention(&test.egressTarget, test.pods, test.kept, noon())
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
