package controller

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/test/await"
)

func TestDriftIsRepaired(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	running := w.start(controller.Options{})
	w.pod("app", host)
	w.ready()

	objects := generated()
	anchor, virtualService, destinationRule := objects[0], objects[1], objects[2]
	serviceEntry, listener := objects[3], objects[4]
	edits := map[string]struct {
		object
		patch map[string]any
	}{
		"a port of the anchor changed": {
			anchor,
			map[string]any{
				"spec": map[string]any{"ports": []any{map[string]any{"number": 81, "name": "http", "protocol": "HTTP"}}},
			},
		},
		"a field added to the anchor": {anchor, map[string]any{"spec": map[string]any{"addresses": []string{"10.0.0.1"}}}},
		"the address of the listener changed": {
			listener,
			map[string]any{"spec": map[string]any{"addresses": []string{"10.0.0.1"}}},
		},
		"the host of the VirtualService changed": {
			virtualService,
			map[string]any{"spec": map[string]any{"hosts": []string{"elsewhere.system.com"}}},
		},
		"gateways added to the VirtualService": {
			virtualService,
			map[string]any{"spec": map[string]any{"gateways": []string{"gateway"}}},
		},
		"the TLS of the DestinationRule removed": {
			destinationRule,
			map[string]any{"spec": map[string]any{"subsets": []any{map[string]any{"name": "mtls-egress"}}}},
		},
		"a traffic policy added to the DestinationRule": {
			destinationRule,
			map[string]any{"spec": map[string]any{"trafficPolicy": map[string]any{"tls": map[string]any{"mode": "DISABLE"}}}},
		},
		"the endpoint of the ServiceEntry changed": {
			serviceEntry,
			map[string]any{"spec": map[string]any{"endpoints": []any{map[string]any{"address": "10.0.0.1"}}}},
		},
		"a field of the ServiceEntry removed":   {serviceEntry, map[string]any{"spec": map[string]any{"exportTo": nil}}},
		"the label of the ServiceEntry removed": {serviceEntry, map[string]any{"metadata": map[string]any{"labels": nil}}},
		"subjectAltNames added to the ServiceEntry itself": {
			serviceEntry,
			map[string]any{"spec": map[string]any{"subjectAltNames": []string{"elsewhere.system.com"}}},
		},
	}
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			w := &world{TB: t, Client: w.Client, namespace: w.namespace}
			content, err := w.istio(edit.kind, edit.name)
			if err != nil {
				t.Fatal(err)
			}
			before := content.DeepCopy()
			w.patch(content, edit.patch)
			if cmp.Equal(before.Object["spec"], content.Object["spec"]) && cmp.Equal(before.GetLabels(), content.GetLabels()) {
				t.Fatal("the edit changed nothing")
			}
			w.programmed(w.defaultSpecs())
			await.Eventually(w, "", func() error {
				after, err := w.istio(edit.kind, edit.name)
				if err != nil {
					return err
				}
				if diff := cmp.Diff(before.GetLabels(), after.GetLabels()); diff != "" {
					return fmt.Errorf("the labels (+) aren't as before (-):\n%s", diff)
				}
				return nil
			})
		})
	}
	for _, o := range objects {
		t.Run("the "+o.kind+" "+o.name+" deleted", func(t *testing.T) {
			w := &world{TB: t, Client: w.Client, namespace: w.namespace}
			content, err := w.istio(o.kind, o.name)
			if err != nil {
				t.Fatal(err)
			}
			w.remove(content)
			w.programmed(w.defaultSpecs())
		})
	}
	w.ready()
	await.Eventually(w, "", func() error {
		want := float64(len(edits) + len(objects))
		got := 0.0
		families, err := running.registry.Gather()
		if err != nil {
			return err
		}
		for _, family := range families {
			for _, metric := range family.GetMetric() {
				if family.GetName() == "mtls_egress_repairs_total" {
					got += metric.GetCounter().GetValue()
				}
			}
		}
		if got != want {
			return fmt.Errorf("%g repairs were counted, want %g", got, want)
		}
		return nil
	})
}

// The generated objects have a name of ours, so another ServiceEntry for the partner's host changes
// nothing.
func TestAServiceEntryForTheHostIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	theirs := w.theirs(mesh.KindServiceEntry, "by-hand", map[string]any{
		"hosts": []any{host}, "location": "MESH_EXTERNAL", "resolution": "DNS",
		"ports": []any{map[string]any{"number": int64(443), "name": "https", "protocol": "HTTPS"}},
	})
	w.start(controller.Options{})
	w.pod("app", host)
	w.ready()
	w.settled(v1alpha1.ConditionConflicted, metav1.ConditionFalse, "NoConflict")
	w.programmed(w.defaultSpecs())
	w.untouched(theirs)
}

func TestAnObjectUnderOurNameIsLeftAlone(t *testing.T) {
	tests := map[string]struct {
		object
		spec map[string]any
	}{
		"an anchor": {generated()[0], map[string]any{"hosts": []any{"elsewhere.system.com"}, "resolution": "DNS",
			"ports": []any{map[string]any{"number": int64(443), "name": "https", "protocol": "HTTPS"}}}},
		"a listener": {generated()[4], map[string]any{"hosts": []any{"elsewhere.system.com"}, "resolution": "DNS",
			"ports": []any{map[string]any{"number": int64(81), "name": "http", "protocol": "HTTP"}}}},
		"a VirtualService": {generated()[1], map[string]any{"hosts": []any{"elsewhere.system.com"},
			"http": []any{
				map[string]any{"route": []any{map[string]any{"destination": map[string]any{"host": "elsewhere.system.com"}}}},
			}}},
		"a DestinationRule": {generated()[2], map[string]any{"host": "elsewhere.system.com"}},
		"a ServiceEntry": {generated()[3], map[string]any{"hosts": []any{"elsewhere.system.com"}, "resolution": "DNS",
			"ports": []any{map[string]any{"number": int64(443), "name": "https", "protocol": "HTTPS"}}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.credential(secret)
			// The label alone doesn't make an object ours.
			theirs := w.theirs(test.kind, test.name, test.spec)
			w.start(controller.Options{})
			w.pod("app", host)
			w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, "NameTaken")
			egressTarget := w.settled(v1alpha1.ConditionConflicted, metav1.ConditionTrue, "Conflict")
			w.untouched(theirs)

			if err := w.Delete(t.Context(), egressTarget); err != nil {
				t.Fatal(err)
			}
			w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, "NameTaken")
			w.untouched(theirs)
			w.remove(theirs)
			w.programmed(w.defaultSpecs())
		})
	}
}

// theirs creates an Istio object that the controller doesn't own.
func (w *world) theirs(kind, name string, spec map[string]any) *unstructured.Unstructured {
	w.Helper()
	content := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	content.SetGroupVersionKind(mesh.GroupVersion().WithKind(kind))
	content.SetName(name)
	content.SetLabels(map[string]string{egress.LabelManagedBy: egress.ValueManagedBy})
	w.create(content)
	return content
}

// untouched fails when an object is not the very one that was created.
func (w *world) untouched(theirs *unstructured.Unstructured) {
	w.Helper()
	content, err := w.istio(theirs.GetKind(), theirs.GetName())
	if err != nil {
		w.Fatal(err)
	}
	if diff := cmp.Diff(theirs.Object, content.Object); diff != "" {
		w.Errorf("somebody else's object was changed:\n%s", diff)
	}
}

func TestAnObjectOfAnotherNamespaceIsNoticedWhenItComes(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	w.start(controller.Options{})
	w.pod("app", host)
	w.ready()
	other := newWorld(t)
	theirs := other.theirs(mesh.KindVirtualService, "exported", map[string]any{"hosts": []any{"*.system.com"},
		"http": []any{
			map[string]any{"route": []any{map[string]any{"destination": map[string]any{"host": "elsewhere.system.com"}}}},
		}})
	w.settled(v1alpha1.ConditionConflicted, metav1.ConditionTrue, "Conflict")
	other.remove(theirs)
	w.ready()
}

func TestASidecarThatHidesTheObjectsIsNoticed(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	w.start(controller.Options{})
	w.pod("app", host)
	w.ready()
	theirs := w.theirs(mesh.KindSidecar, "default",
		map[string]any{"egress": []any{map[string]any{"hosts": []any{"istio-system/*"}}}})
	w.settled(v1alpha1.ConditionConflicted, metav1.ConditionTrue, "Conflict")
	w.remove(theirs)
	w.ready()
}

// Two hosts of a namespace can have one address by nature. If the ServiceEntry of one would lead
// plain calls to the other to its own partner, one of them gets another address. While Pods have
// the address of before, the target is closed.
func TestATargetThatWouldCatchCallsToAnotherGetsAnotherAddress(t *testing.T) {
	const victim, catching = "h12065.example.com", "h12089.example.com"
	natural := egress.Sinkhole{}.Address(catching)
	w := newWorld(t)
	w.credential("both")
	w.start(controller.Options{})
	spec := v1alpha1.EgressTargetSpec{Credential: v1alpha1.Credential{SecretName: "both"}}
	w.create(&v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: victim}, Spec: spec})
	await.Eventually(w, "", func() error {
		return w.hasCondition(victim, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	})
	spec.Port, spec.AppPort = 80, 8080
	w.create(&v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: catching}, Spec: spec})
	await.Eventually(w, "", func() error {
		return w.hasCondition(catching, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	})
	var moved v1alpha1.EgressTarget
	if err := w.Get(t.Context(), types.NamespacedName{Namespace: w.namespace, Name: catching}, &moved); err != nil {
		t.Fatal(err)
	}
	w.hasAddresses(catching, moved.Status.Address)
	if moved.Status.Address == natural.String() {
		t.Errorf("%s has the address %s of %s", catching, natural, victim)
	}
	old := w.pod("old", catching)
	await.Eventually(w, "", func() error {
		return w.hasCondition(catching, v1alpha1.ConditionProgrammed, metav1.ConditionFalse, "SinkholeCollision")
	})
	if _, err := w.istio(mesh.KindServiceEntry, egress.ObjectName(catching)); !apierrors.IsNotFound(err) {
		t.Errorf("the ServiceEntry of %s stands (%v)", catching, err)
	}
	w.remove(old)
	await.Eventually(w, "", func() error {
		return w.hasCondition(catching, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	})
	w.hasAddresses(catching, moved.Status.Address)
}

// Pods that started before the range was changed keep their addresses.
func TestThePodsOfAFormerSinkholeRangeAreServed(t *testing.T) {
	sinkhole, err := egress.ParseSinkhole([]string{"198.18.0.0/15", egress.DefaultSinkholeRange})
	if err != nil {
		t.Fatal(err)
	}
	current, former := sinkhole.Address(host).String(), egress.Sinkhole{}.Address(host).String()
	w := newWorld(t)
	w.credential(secret)
	w.start(controller.Options{Policy: &policy.Cluster{Other: policy.OtherAllow, Sinkhole: sinkhole}})
	w.pod("new", host)
	w.ready()
	w.hasAddresses(host, current)
	old := w.pod("old", host, at(host, former))
	w.hasAddresses(host, current, former)
	w.remove(old)
	w.hasAddresses(host, current)
}

// hasAddresses waits until the generated ServiceEntries of the host have the addresses.
func (w *world) hasAddresses(host string, want ...string) {
	w.Helper()
	for _, name := range []string{egress.ObjectName(host), egress.ListenerName(host)} {
		await.Eventually(w, "", func() error {
			object, err := w.istio(mesh.KindServiceEntry, name)
			if err != nil {
				return err
			}
			got, _, err := unstructured.NestedStringSlice(object.Object, "spec", "addresses")
			if err == nil && !slices.Equal(got, want) {
				err = fmt.Errorf("%s has the addresses %v, not %v", name, got, want)
			}
			return err
		})
	}
}

func TestTwoHostsOfOneSinkholeAddressAreBothProgrammed(t *testing.T) {
	const one, other = "h12065.example.com", "h12089.example.com"
	if (egress.Sinkhole{}).Address(one) != (egress.Sinkhole{}).Address(other) {
		t.Fatalf("%s and %s don't share an address", one, other)
	}
	w := newWorld(t)
	w.credential("both")
	w.start(controller.Options{})
	for _, name := range []string{one, other} {
		w.create(&v1alpha1.EgressTarget{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       v1alpha1.EgressTargetSpec{Credential: v1alpha1.Credential{SecretName: "both"}},
		})
	}
	for _, name := range []string{one, other} {
		await.Eventually(w, "", func() error {
			var egressTarget v1alpha1.EgressTarget
			if err := w.Get(t.Context(), types.NamespacedName{Namespace: w.namespace, Name: name}, &egressTarget); err != nil {
				return err
			}
			if !meta.IsStatusConditionTrue(egressTarget.Status.Conditions, v1alpha1.ConditionReady) {
				return fmt.Errorf("%s is not ready: %+v", name, egressTarget.Status.Conditions)
			}
			// Istio would lead the calls of both to the listener of one.
			if _, err := w.istio(mesh.KindServiceEntry, egress.ListenerName(name)); !apierrors.IsNotFound(err) {
				return fmt.Errorf("the listener of %s stands (%w)", name, err)
			}
			return nil
		})
	}
}
