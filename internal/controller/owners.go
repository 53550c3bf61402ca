package controller

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/workload"
)

// maxOwnerLevels limits the chain of owners above a Pod.
const maxOwnerLevels = 4

// ownerID identifies an object that owns Pods, directly or through other objects.
type ownerID struct {
	kind schema.GroupKind
	uid  types.UID
}

// owner is what a survey keeps of such an object.
type owner struct {
	// namespace is empty if the object is cluster-scoped.
	namespace, name string
	// asks reports whether it has the annotation mtls.egress/target.
	asks bool
	// above is its own owner, or nil.
	above *ownerID
}

// ownedPods counts Pods without the annotation by their namespace and owner.
type ownedPods map[podOwner]int

type podOwner struct {
	namespace string
	id        ownerID
}

// ownerOf returns the owner that controls an object, or nil if there is none.
func ownerOf(object metav1.Object) *ownerID {
	controller := metav1.GetControllerOfNoCopy(object)
	if controller == nil {
		return nil
	}
	version, err := schema.ParseGroupVersion(controller.APIVersion)
	if err != nil {
		return nil
	}
	return &ownerID{kind: schema.GroupKind{Group: version.Group, Kind: controller.Kind}, uid: controller.UID}
}

// unpropagated is an owner whose annotation had no effect on Pods of one namespace.
type unpropagated struct {
	id ownerID
	owner
	podNamespace string
	pods         int
}

// notPropagated returns the owners with the annotation whose kind is not in kinds, so admission
// doesn't propagate it. If a chain has several, the topmost is returned, because the others have
// probably copied it. A chain in which a kind of kinds has the annotation is left out: admission
// propagates that one. The result is sorted.
func notPropagated(pods ownedPods, owners map[ownerID]owner, kinds map[schema.GroupKind]workload.Kind) []unpropagated {
	counts := map[podOwner]int{}
	for of, count := range pods {
		if top := topmostUnknown(of.id, owners, kinds); top != nil {
			counts[podOwner{of.namespace, *top}] += count
		}
	}
	found := make([]unpropagated, 0, len(counts))
	for of, count := range counts {
		found = append(found, unpropagated{id: of.id, owner: owners[of.id], podNamespace: of.namespace, pods: count})
	}
	slices.SortFunc(found, func(a, b unpropagated) int {
		return cmp.Or(cmp.Compare(a.podNamespace, b.podNamespace), cmp.Compare(a.id.kind.String(), b.id.kind.String()),
			cmp.Compare(a.name, b.name), cmp.Compare(a.id.uid, b.id.uid))
	})
	return found
}

// topmostUnknown returns the topmost owner with the annotation for notPropagated, or nil.
func topmostUnknown(
	direct ownerID, owners map[ownerID]owner, kinds map[schema.GroupKind]workload.Kind,
) (top *ownerID) {
	at := &direct
	for level := 0; at != nil && level < maxOwnerLevels; level++ {
		one := owners[*at]
		_, known := kinds[at.kind]
		switch {
		case one.asks && known:
			return nil
		case one.asks:
			top = at
		}
		at = one.above
	}
	return top
}

// missingOwners returns the owners of Pods, up to maxOwnerLevels, that are not in owners, by kind.
func missingOwners(pods ownedPods, owners map[ownerID]owner) map[schema.GroupKind]map[types.UID]bool {
	wanted := map[schema.GroupKind]map[types.UID]bool{}
	for of := range pods {
		at := &of.id
		for level := 0; at != nil && level < maxOwnerLevels; level++ {
			one, read := owners[*at]
			if !read {
				if wanted[at.kind] == nil {
					wanted[at.kind] = map[types.UID]bool{}
				}
				wanted[at.kind][at.uid] = true
				break
			}
			at = one.above
		}
	}
	return wanted
}

// notPropagatedNote returns the text of the event on an owner with pods Pods.
func notPropagatedNote(resource schema.GroupResource, kind string, pods int) string {
	return fmt.Sprintf(
		"the annotation %s has no effect on this %s: the webhook doesn't know the kind, and Pods run without the annotation "+
			"(%d), so their calls leave in plain text; write the annotation into the Pod template itself, or ask an admin to "+
			"add the kind to the chart's value workloads, with the path of its Pod template, as in %s: {kind: %s, templates: "+
			"[spec.template]}",
		egress.AnnotationTarget, kind, pods, resource, kind)
}
