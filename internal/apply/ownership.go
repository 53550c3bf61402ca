package apply

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/target"
)

// ours reports whether an object with the name of one of the EgressTarget's, or of the anchor, belongs to it. The anchor
// belongs to all EgressTargets of its namespace.
func ours(egressTarget *v1alpha1.EgressTarget, object metav1.Object) bool {
	return mesh.OwnedFor(object, egressTarget.Name) || object.GetName() == target.AnchorName && mesh.Owned(object)
}

// Owns reports whether the EgressTarget is among the owners of object.
func Owns(egressTarget *v1alpha1.EgressTarget, object metav1.Object) bool {
	return slices.ContainsFunc(object.GetOwnerReferences(), func(owner metav1.OwnerReference) bool { return owner.UID == egressTarget.UID })
}

// OwnerReference makes the EgressTarget an owner, so that the garbage collector cleans up after somebody who removed the
// finalizer by force. It doesn't block the owner's deletion: the finalizer does, and a blocking reference would let a deletion
// with foreground propagation (the default of Argo CD) take the objects from under living Pods again and again.
// https://kubernetes.io/docs/concepts/architecture/garbage-collection/#foreground-deletion
func OwnerReference(egressTarget *v1alpha1.EgressTarget, controller bool) metav1.OwnerReference {
	owner := metav1.OwnerReference{
		APIVersion: v1alpha1.GroupVersion().String(),
		Kind:       v1alpha1.Kind,
		Name:       egressTarget.Name,
		UID:        egressTarget.UID,
	}
	if controller {
		owner.Controller = &controller
	}
	return owner
}

// AsDesired reports whether present has exactly the spec of desired, its labels, its owners, and nothing else that Istio
// reads.
func AsDesired(present, desired *unstructured.Unstructured) bool {
	return !markedForIstio(present) && equality.Semantic.DeepEqual(present.Object["spec"], desired.Object["spec"]) && OwnedAsDesired(present, desired)
}

// OwnedAsDesired reports whether present has the labels of desired, and its owners. Labels and owners that others added
// stay, but for EgressTargets that are not owners any more.
func OwnedAsDesired(present, desired metav1.Object) bool {
	labels := present.GetLabels()
	for name, value := range desired.GetLabels() {
		if labels[name] != value {
			return false
		}
	}
	owners := slices.DeleteFunc(slices.Clone(present.GetOwnerReferences()), func(owner metav1.OwnerReference) bool { return !IsEgressTarget(owner) })
	return len(owners) == len(desired.GetOwnerReferences()) && !slices.ContainsFunc(desired.GetOwnerReferences(), func(wanted metav1.OwnerReference) bool {
		return !slices.ContainsFunc(owners, func(owner metav1.OwnerReference) bool { return equality.Semantic.DeepEqual(owner, wanted) })
	})
}

// IsEgressTarget reports whether an owner is an EgressTarget.
func IsEgressTarget(owner metav1.OwnerReference) bool {
	return mesh.Owned(&metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{owner}})
}
