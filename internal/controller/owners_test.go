package controller

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"mtls.egress/webhook/internal/plan"
	"mtls.egress/webhook/internal/workload"
)

// chain is a chain of owners as kinds, the direct owner of the Pods first. A kind with a * has the
// annotation.
type chain []string

func TestNotPropagated(t *testing.T) {
	tests := map[string]struct {
		chain chain
		// want is the kind of the owner that is reported, or "".
		want string
	}{
		"Pods without an owner": {},
		"a Deployment without the annotation": {
			chain: chain{"ReplicaSet.apps", "Deployment.apps"},
		},
		"a Deployment with the annotation is the policy's concern": {
			chain: chain{"ReplicaSet.apps", "Deployment.apps*"},
		},
		"an unknown kind that creates Pods": {
			chain: chain{"Shop.example.com*"}, want: "Shop.example.com",
		},
		"an unknown kind above a ReplicaSet": {
			chain: chain{"ReplicaSet.apps", "Shop.example.com*"}, want: "Shop.example.com",
		},
		"an unknown kind without the annotation": {
			chain: chain{"ReplicaSet.apps", "Deployment.apps", "Shop.example.com"},
		},
		"the same kind in another group": {
			chain: chain{"ReplicaSet.apps", "Deployment.example.com*"}, want: "Deployment.example.com",
		},
		"an unknown kind at the highest level": {
			chain: chain{"ReplicaSet.apps", "Deployment.apps", "Shop.example.com", "Mall.example.com*"},
			want:  "Mall.example.com",
		},
		"an unknown kind above the highest level": {
			chain: chain{"ReplicaSet.apps", "Deployment.apps", "Shop.example.com", "Mall.example.com", "City.example.com*"},
		},
		"the topmost of two kinds that have the annotation": {
			chain: chain{"ReplicaSet.apps", "Shop.example.com*", "Mall.example.com*"}, want: "Mall.example.com",
		},
		"an unknown kind that copied the annotation to its Deployment": {
			chain: chain{"ReplicaSet.apps", "Deployment.apps*", "Shop.example.com*"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			owners := map[ownerID]owner{}
			for level, kind := range test.chain {
				one := owner{namespace: "project", name: "shop", asks: strings.HasSuffix(kind, "*")}
				if level+1 < len(test.chain) {
					one.above = new(test.chain.id(level + 1))
				}
				owners[test.chain.id(level)] = one
			}
			pods := ownedPods{}
			if len(test.chain) > 0 {
				pods[podOwner{"project", test.chain.id(0)}] = 3
			}
			var want, got []unpropagated
			if test.want != "" {
				at := slices.Index(test.chain, test.want+"*")
				id := test.chain.id(at)
				want = []unpropagated{{id: id, owner: owners[id], podNamespace: "project", pods: 3}}
			}
			got = append(got, notPropagated(pods, owners, workload.Known().ByKind())...)
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(unpropagated{}, ownerID{}, owner{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// id is the owner at a level. Its UID is the level.
func (c chain) id(level int) ownerID {
	kind := schema.ParseGroupKind(strings.TrimSuffix(c[level], "*"))
	return ownerID{kind: kind, uid: types.UID("level-" + string(rune('0'+level)))}
}

func TestPodsOfAnOwnerAreAddedUp(t *testing.T) {
	shop := ownerID{schema.GroupKind{Group: "example.com", Kind: "Shop"}, "shop"}
	revision := func(uid types.UID) ownerID { return ownerID{schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}, uid} }
	owners := map[ownerID]owner{
		shop: {name: "shop", asks: true}, revision("1"): {above: &shop}, revision("2"): {above: &shop},
	}
	pods := ownedPods{{"b", revision("1")}: 1, {"a", revision("1")}: 2, {"a", revision("2")}: 4}
	want := []unpropagated{
		{id: shop, owner: owners[shop], podNamespace: "a", pods: 6},
		{id: shop, owner: owners[shop], podNamespace: "b", pods: 1},
	}
	got := notPropagated(pods, owners, nil)
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(unpropagated{}, ownerID{}, owner{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestOwnersAreReadByLevel follows the chain of a Pod whose highest owner has an owner itself.
func TestOwnersAreReadByLevel(t *testing.T) {
	kinds := chain{"ReplicaSet.apps", "Deployment.apps", "Shop.example.com", "Mall.example.com", "City.example.com"}
	pods, owners := ownedPods{{"project", kinds.id(0)}: 1}, map[ownerID]owner{}
	var asked chain
	for wanted := missingOwners(pods, owners); len(wanted) > 0; wanted = missingOwners(pods, owners) {
		for kind := range maps.Keys(wanted) {
			asked = append(asked, kind.String())
			owners[kinds.id(len(asked)-1)] = owner{above: new(kinds.id(len(asked)))}
		}
	}
	if diff := cmp.Diff(kinds[:maxOwnerLevels], asked); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOwnerOf(t *testing.T) {
	owned := func(references ...metav1.OwnerReference) metav1.Object {
		return &metav1.ObjectMeta{OwnerReferences: references}
	}
	other := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", UID: "1"}
	invalid := metav1.OwnerReference{APIVersion: "a/b/c", Kind: "Shop", UID: "2", Controller: new(true)}
	controlling := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", UID: "3", Controller: new(true)}
	tests := map[string]struct {
		object metav1.Object
		want   *ownerID
	}{
		"no owner":                     {object: owned()},
		"an owner without control":     {object: owned(other)},
		"an owner of an invalid group": {object: owned(invalid)},
		"the owner in control": {
			object: owned(other, controlling),
			want:   &ownerID{schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}, "3"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, ownerOf(test.object), cmp.AllowUnexported(ownerID{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNotPropagatedNote(t *testing.T) {
	got := notPropagatedNote(schema.GroupResource{Group: "example.com", Resource: "shops"}, "Shop", 3)
	const want = "the annotation mtls.egress/target has no effect on this Shop: the webhook doesn't know the kind, and " +
		"Pods run without the annotation (3), so their calls leave in plain text; write the annotation into the Pod " +
		"template itself, or ask an admin to add the kind to the chart's value workloads, with the path of its Pod " +
		"template, as in shops.example.com: {kind: Shop, templates: [spec.template]}"
	if got != want || len(got) > plan.MaxEventNote {
		t.Errorf("got (%d bytes)\n%s\nwant at most %d bytes:\n%s", len(got), got, plan.MaxEventNote, want)
	}
}
