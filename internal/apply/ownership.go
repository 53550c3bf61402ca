package apply

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// ours reports whether an object with the name of a generated object or of the anchor belongs to
// the EgressTarget. The anchor belongs to all EgressTargets of its namespace.
func ours(egressTarget *v1alpha1.EgressTarget, object metav1.Object) bool {
	return mesh.OwnedFor(object, egressTarget.Name) || object.GetName() == egress.AnchorName && mesh.Owned(object)
}

// AsDesired reports whether present has the spec, the labels and the owners of desired, and no
// other labels or annotations that Istio reads.
func AsDesired(present, desired *unstructured.Unstructured) bool {
	return !markedForIstio(present) && equality.Semantic.DeepEqual(present.Object["spec"], desired.Object["spec"]) &&
		OwnedAsDesired(present, desired)
}

// OwnedAsDesired reports whether present has the labels and the owners of desired. Additional
// labels and owners are allowed, except for EgressTargets that are no longer owners.
func OwnedAsDesired(present, desired metav1.Object) bool {
	labels := present.GetLabels()
	for name, value := range desired.GetLabels() {
		if labels[name] != value {
			return false
		}
	}
	owners := slices.DeleteFunc(slices.Clone(present.GetOwnerReferences()), func(owner metav1.OwnerReference) bool {
		return !mesh.IsEgressTarget(owner)
	})
	isMissing := func(wanted metav1.OwnerReference) bool {
		return !slices.ContainsFunc(owners, func(owner metav1.OwnerReference) bool {
			return equality.Semantic.DeepEqual(owner, wanted)
		})
	}
	return len(owners) == len(desired.GetOwnerReferences()) &&
		!slices.ContainsFunc(desired.GetOwnerReferences(), isMissing)
}
