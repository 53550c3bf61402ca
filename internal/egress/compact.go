package egress

import (
	"maps"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
)

// Compactor returns a function that returns an EgressTarget as a cache should hold it: of its
// managed fields only what MadeByController reads is left, and what is the same for nearly all of
// them is held once. It doesn't change what it is given. Its results share their labels, so they
// are for reading, and must never be written with their managed fields.
func Compactor() func(*v1alpha1.EgressTarget) *v1alpha1.EgressTarget {
	ours := map[string]string{LabelManagedBy: ValueManagedBy}
	return func(egressTarget *v1alpha1.EgressTarget) *v1alpha1.EgressTarget {
		compact := compacted(egressTarget)
		if maps.Equal(compact.Labels, ours) {
			compact.Labels = ours
		}
		return compact
	}
}

func compacted(egressTarget *v1alpha1.EgressTarget) *v1alpha1.EgressTarget {
	// A copy has no room for more in its lists, other than what was read.
	compact := egressTarget.DeepCopy()
	compact.ManagedFields = nil
	for _, entry := range egressTarget.ManagedFields {
		if writtenByOthers(entry) {
			compact.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: Once(entry.Manager)}}
		}
	}
	compact.Namespace = Once(compact.Namespace)
	for n := range compact.Finalizers {
		compact.Finalizers[n] = Once(compact.Finalizers[n])
	}
	for n := range compact.Status.Conditions {
		condition := &compact.Status.Conditions[n]
		condition.Type, condition.Reason, condition.Message = Once(condition.Type), Once(condition.Reason), Once(condition.Message)
		condition.Status = metav1.ConditionStatus(Once(string(condition.Status)))
	}
	for n := range compact.Status.Credentials {
		credential := &compact.Status.Credentials[n]
		credential.Reason, credential.Issuer = Once(credential.Reason), Once(credential.Issuer)
	}
	return compact
}

// Once returns the text in a place in memory that it shares with equal ones: not with all, as the
// collection of garbage forgets which there are, but with those that come together, as all do in
// the beginning.
func Once(text string) string { return unique.Make(text).Value() }
