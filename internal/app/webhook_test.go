package app

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

// A user who edits an EgressTarget that the controller created takes it over. The cache once
// dropped the managed fields, and admission still treated the object as the controller's.
func TestAdmissionKnowsWhoWroteToAnEgressTarget(t *testing.T) {
	edited := &v1alpha1.EgressTarget{
		ObjectMeta: metav1.ObjectMeta{
			Name: "external.system.com", Labels: map[string]string{egress.LabelManagedBy: egress.ValueManagedBy},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: egress.ValueManagedBy}, {Manager: "kubectl-edit"}},
		},
		Spec: v1alpha1.EgressTargetSpec{Port: 8443},
		Status: v1alpha1.EgressTargetStatus{
			Conditions:  []metav1.Condition{{Type: "Ready"}},
			Credentials: []v1alpha1.CredentialStatus{{SecretName: "a"}},
		},
	}
	var kept any = edited
	for object, options := range admissionCache().ByObject {
		if _, ok := object.(*v1alpha1.EgressTarget); ok {
			var err error
			if kept, err = options.Transform(edited); err != nil {
				t.Fatal(err)
			}
		}
	}
	cached := kept.(*v1alpha1.EgressTarget)
	if egress.MadeByController(cached) {
		t.Error("MadeByController = true for an edited EgressTarget")
	}
	if diff := cmp.Diff(v1alpha1.EgressTargetStatus{Credentials: edited.Status.Credentials},
		cached.Status); diff != "" {
		t.Errorf("the status (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(edited.Spec, cached.Spec); diff != "" {
		t.Errorf("the spec (-want +got):\n%s", diff)
	}
}
