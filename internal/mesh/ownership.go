package mesh

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"mtls.egress/webhook/api/v1alpha1"
)

// Owned reports whether obj has an owner reference to any EgressTarget. That does not show who
// wrote it, since anyone can copy an owner reference: see OwnedFor.
func Owned(obj metav1.Object) bool {
	return slices.ContainsFunc(obj.GetOwnerReferences(), IsEgressTarget)
}

// OwnedFor reports whether obj has an owner reference to the EgressTarget of host in its namespace.
// Together with the name that the controller gives the object, this makes the object ours. The UID
// does not count: an owner reference with the name of an EgressTarget and another UID is that of an
// EgressTarget that was deleted or restored from a backup, so the object is either taken over or
// collected as garbage.
// https://kubernetes.io/docs/concepts/architecture/garbage-collection/
func OwnedFor(obj metav1.Object, host string) bool {
	return slices.ContainsFunc(obj.GetOwnerReferences(), func(owner metav1.OwnerReference) bool {
		return IsEgressTarget(owner) && owner.Name == host
	})
}

// OwnedBy reports whether the EgressTarget, by its UID, is among the owners of object.
func OwnedBy(egressTarget *v1alpha1.EgressTarget, object metav1.Object) bool {
	return slices.ContainsFunc(object.GetOwnerReferences(), func(owner metav1.OwnerReference) bool { return owner.UID == egressTarget.UID })
}

// OwnerReference returns the owner reference to an EgressTarget. With it the garbage collector
// cleans up if the finalizer was removed by force. It doesn't block the owner's deletion: the
// finalizer does, and a blocking reference would let a deletion with foreground propagation (the
// default of Argo CD) take the objects from under living Pods again and again.
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

// IsEgressTarget reports whether an owner is an EgressTarget. It compares the group without the
// version, so that objects stay ours when the API gets a new version.
func IsEgressTarget(owner metav1.OwnerReference) bool {
	version, err := schema.ParseGroupVersion(owner.APIVersion)
	return err == nil && version.Group == v1alpha1.Group && owner.Kind == v1alpha1.Kind
}
