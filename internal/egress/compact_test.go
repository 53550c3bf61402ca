package egress_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

// A compact EgressTarget equals the original in every field that is read.
func TestCompactor(t *testing.T) {
	ours := metav1.ManagedFieldsEntry{
		Manager:   egress.ValueManagedBy,
		Operation: metav1.ManagedFieldsOperationUpdate,
		FieldsV1:  metav1.NewFieldsV1(`{"f:spec":{}}`),
	}
	status := metav1.ManagedFieldsEntry{Manager: "another", Subresource: "status"}
	others := metav1.ManagedFieldsEntry{
		Manager:   "kubectl-edit",
		Operation: metav1.ManagedFieldsOperationUpdate,
		FieldsV1:  metav1.NewFieldsV1(`{"f:spec":{"f:port":{}}}`),
	}
	for name, test := range map[string]struct {
		managers []metav1.ManagedFieldsEntry
		made     bool
	}{
		"only the controller wrote to it":       {[]metav1.ManagedFieldsEntry{ours}, true},
		"another manager wrote only its status": {[]metav1.ManagedFieldsEntry{ours, status}, true},
		"another manager wrote to it":           {[]metav1.ManagedFieldsEntry{ours, others, status}, false},
	} {
		t.Run(name, func(t *testing.T) {
			whole := &v1alpha1.EgressTarget{
				ObjectMeta: metav1.ObjectMeta{
					Namespace:       "project",
					Name:            "external.system.com",
					UID:             "1",
					ResourceVersion: "2",
					ManagedFields:   test.managers,
					Labels: map[string]string{
						egress.LabelManagedBy: egress.ValueManagedBy,
					},
					Annotations: map[string]string{"note": "keep"},
					Finalizers:  []string{"a", "b"},
				},
				Spec: v1alpha1.EgressTargetSpec{Port: 8443},
				Status: v1alpha1.EgressTargetStatus{
					Conditions: []metav1.Condition{
						{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Ready", Message: "all is well"},
					},
					Credentials: []v1alpha1.CredentialStatus{
						{SecretName: "a", Reason: "Expired", Issuer: "CN=Partner CA"},
					},
				},
			}
			before := whole.DeepCopy()
			compactor := egress.Compactor()
			compact := compactor(whole)
			if diff := cmp.Diff(before, whole); diff != "" {
				t.Errorf("the argument was modified (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff(whole, compact,
				cmpopts.IgnoreFields(metav1.ObjectMeta{}, "ManagedFields")); diff != "" {
				t.Errorf("compact object differs (-whole +compact):\n%s", diff)
			}
			if got := egress.MadeByController(compact); got != test.made ||
				egress.MadeByController(whole) != test.made {
				t.Errorf("MadeByController(compact) = %v, want %v", got, test.made)
			}
			if diff := cmp.Diff(compact, compactor(compact)); diff != "" {
				t.Errorf("a second pass changes the object:\n%s", diff)
			}
		})
	}
}
