package target

import (
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
)

// Compact returns an EgressTarget as a cache should hold it. Of its managed fields only what MadeByController reads is left, and texts that all have are held once. It is for
// reading: the result shares nothing with egressTarget, which is not changed, but must never be written back with its managed fields.
func Compact(egressTarget *v1alpha1.EgressTarget) *v1alpha1.EgressTarget {
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

// Once returns the text in a place in memory that it shares with equal ones: not with all, as the collection of garbage forgets which there are, but with those that come
// together, as all do in the beginning.
func Once(text string) string { return unique.Make(text).Value() }
