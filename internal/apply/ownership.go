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

// ours reports whether an object with the name of one of the EgressTarget's, or of the anchor,
// belongs to it. The anchor belongs to all EgressTargets of its namespace.
func ours(egressTarget *v1alpha1.EgressTarget, object metav1.Object) bool {
	return mesh.OwnedFor(object, egressTarget.Name) || object.GetName() == egress.AnchorName && mesh.Owned(object)
}

// AsDesired reports whether present has exactly the spec of desired, its labels, its owners, and
// nothing else that Istio reads.
func AsDesired(present, desired *unstructured.Unstructured) bool {
	return !markedForIstio(present) && equality.Semantic.DeepEqual(present.Object["spec"], desired.Object["spec"]) && OwnedAsDesired(present, desired)
}

// OwnedAsDesired reports whether present has the labels of desired, and its owners. Labels and
// owners that others added stay, but for EgressTargets that are not owners any more.
func OwnedAsDesired(present, desired metav1.Object) bool {
	labels := present.GetLabels()
	for name, value := range desired.GetLabels() {
		if labels[name] != value {
			return false
		}
	}
	owners := slices.DeleteFunc(slices.Clone(present.GetOwnerReferences()), func(owner metav1.OwnerReference) bool { return !mesh.IsEgressTarget(owner) })
	return len(owners) == len(desired.GetOwnerReferences()) && !slices.ContainsFunc(desired.GetOwnerReferences(), func(wanted metav1.OwnerReference) bool {
		return !slices.ContainsFunc(owners, func(owner metav1.OwnerReference) bool { return equality.Semantic.DeepEqual(owner, wanted) })
	})
}
