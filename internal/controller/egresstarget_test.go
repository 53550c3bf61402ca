package controller

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/plan"
)

// statuses records writes of the status without making them.
type statuses struct {
	client.Client

	manager string
	object  v1alpha1.EgressTarget
	fields  map[string]any
}

func (s *statuses) Status() client.SubResourceWriter { return statusWriter{statuses: s} }

type statusWriter struct {
	client.SubResourceWriter

	statuses *statuses
}

func (s statusWriter) Apply(
	_ context.Context, configuration runtime.ApplyConfiguration, options ...client.SubResourceApplyOption,
) error {
	var all client.SubResourceApplyOptions
	all.ApplyOpts(options)
	s.statuses.manager = all.FieldManager
	text, err := json.Marshal(configuration)
	if err != nil {
		return err
	}
	var fields struct{ Status map[string]any }
	if err := json.Unmarshal(text, &fields); err != nil {
		return err
	}
	s.statuses.fields = fields.Status
	return json.Unmarshal(text, &s.statuses.object)
}

// TestEachWriterOfAStatusWritesItsOwn uses a fake, because a real API server shows that a write
// carries the version that was read only while the cache is stale.
func TestEachWriterOfAStatusWritesItsOwn(t *testing.T) {
	now := metav1.NewTime(noon())
	condition := func(conditionType string) metav1.Condition {
		return metav1.Condition{Type: conditionType, Status: metav1.ConditionTrue, Reason: "Given", LastTransitionTime: now}
	}
	read := func() *v1alpha1.EgressTarget {
		e := &v1alpha1.EgressTarget{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: host, UID: "1", ResourceVersion: "99"},
		}
		e.Status.Conditions = []metav1.Condition{condition(v1alpha1.ConditionReady), condition(v1alpha1.ConditionVerified)}
		return e
	}
	types := func(conditions []metav1.Condition) []string {
		var types []string
		for _, c := range conditions {
			types = append(types, c.Type)
		}
		return types
	}
	clock := clocktesting.NewFakePassiveClock(noon().Add(time.Minute))

	written := &statuses{}
	status := v1alpha1.EgressTargetStatus{Pods: 1, Conditions: read().Status.Conditions}
	r := &EgressTargetReconciler{client: written, clock: clock}
	decided := plan.Decide(plan.Facts{EgressTarget: read(), Now: noon()})
	if err := r.writeStatus(t.Context(), read(), decided, status); err != nil {
		t.Fatal(err)
	}
	if written.manager != FieldManager || written.object.UID != "1" || written.object.ResourceVersion != "99" {
		t.Errorf("%s wrote on UID %s, version %s", written.manager, written.object.UID, written.object.ResourceVersion)
	}
	if diff := cmp.Diff([]string{v1alpha1.ConditionReady}, types(written.object.Status.Conditions)); diff != "" {
		t.Errorf("conditions of %s (-want +got):\n%s", written.manager, diff)
	}

	verification := &statuses{}
	v := &VerificationReconciler{client: verification, clock: clock}
	if err := v.write(t.Context(), read(), new(plan.False("Refused", "no"))); err != nil {
		t.Fatal(err)
	}
	if verification.manager != VerificationFieldManager || verification.object.UID != "1" ||
		verification.object.ResourceVersion != "" {
		t.Errorf(
			"%s wrote on UID %s, version %q", verification.manager, verification.object.UID, verification.object.ResourceVersion,
		)
	}
	if diff := cmp.Diff([]string{v1alpha1.ConditionVerified}, types(verification.object.Status.Conditions)); diff != "" ||
		len(verification.fields) != 1 {
		t.Errorf("%s wrote %v, conditions (-want +got):\n%s", verification.manager, verification.fields, diff)
	}
}
