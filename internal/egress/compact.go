package egress

import (
	"maps"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
)

// Compactor returns a transform that reduces an EgressTarget to what a cache needs. It drops the
// managed fields except for those that MadeByController reads, and shares strings that most
// EgressTargets have in common. The transform doesn't modify its argument. The results share their
// labels, so treat them as read-only, and never write their managed fields back.
func Compactor() func(*v1alpha1.EgressTarget) *v1alpha1.EgressTarget {
	shared := map[string]string{LabelManagedBy: ValueManagedBy}
	return func(egressTarget *v1alpha1.EgressTarget) *v1alpha1.EgressTarget {
		compact := compacted(egressTarget)
		if maps.Equal(compact.Labels, shared) {
			compact.Labels = shared
		}
		return compact
	}
}

func compacted(egressTarget *v1alpha1.EgressTarget) *v1alpha1.EgressTarget {
	// DeepCopy also drops the spare capacity of the decoded slices.
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
		condition.Type, condition.Reason = Once(condition.Type), Once(condition.Reason)
		condition.Message = Once(condition.Message)
		condition.Status = metav1.ConditionStatus(Once(string(condition.Status)))
	}
	for n := range compact.Status.Credentials {
		credential := &compact.Status.Credentials[n]
		credential.Reason, credential.Issuer = Once(credential.Reason), Once(credential.Issuer)
		if ca := credential.ServerCA; ca != nil {
			ca.Subject, ca.SerialNumber = Once(ca.Subject), Once(ca.SerialNumber)
		}
	}
	return compact
}

// Once returns a canonical copy of text that shares its memory with equal strings. The garbage
// collector drops canonical copies that are no longer referenced, so only strings that are alive at
// the same time are shared. That covers the initial list of a cache.
func Once(text string) string { return unique.Make(text).Value() }
