package mesh

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"mtls.egress/webhook/api/v1alpha1"
)

// Owned reports whether obj has an owner reference to any EgressTarget. That does not prove who
// wrote it, because anyone can copy an owner reference. See OwnedFor.
func Owned(obj metav1.Object) bool {
	return slices.ContainsFunc(obj.GetOwnerReferences(), IsEgressTarget)
}

// OwnedFor reports whether obj has an owner reference to the EgressTarget of host in its namespace.
// Together with the name of a generated object, this makes the object ours. The UID is ignored: an
// owner reference with another UID points to an EgressTarget that was deleted or restored from a
// backup. The controller then takes the object over, or the garbage collector deletes it.
// https://kubernetes.io/docs/concepts/architecture/garbage-collection/
func OwnedFor(obj metav1.Object, host string) bool {
	return slices.ContainsFunc(obj.GetOwnerReferences(), func(owner metav1.OwnerReference) bool {
		return IsEgressTarget(owner) && owner.Name == host
	})
}

// OwnedBy reports whether object has an owner reference with the UID of the EgressTarget.
func OwnedBy(egressTarget *v1alpha1.EgressTarget, object metav1.Object) bool {
	return slices.ContainsFunc(
		object.GetOwnerReferences(), func(owner metav1.OwnerReference) bool { return owner.UID == egressTarget.UID },
	)
}

// OwnerReference returns the owner reference to an EgressTarget. It lets the garbage collector
// clean up if a user removed the finalizer. It doesn't block the owner's deletion, because the
// finalizer does. With a blocking reference, a deletion with foreground propagation (the default of
// Argo CD) would repeatedly delete the objects while Pods use them.
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

// IsEgressTarget reports whether an owner is an EgressTarget. It ignores the API version, so that
// objects stay ours when the API gets a new version.
func IsEgressTarget(owner metav1.OwnerReference) bool {
	version, err := schema.ParseGroupVersion(owner.APIVersion)
	return err == nil && version.Group == v1alpha1.Group && owner.Kind == v1alpha1.Kind
}
