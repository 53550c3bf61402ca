package controller

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/await"
)

// What an ordinary tenant of the namespace can write, without any rights on Istio's objects unless
// a test says so.

// Nothing that can't be read delays closing.
func TestATargetIsClosedWhateverItsPodsSayTheyMount(t *testing.T) {
	tests := map[string]string{
		"a name that no Secret can have": `[{"name":"mtls-egress-external-system-com","secret":{"secretName":"a/b"}}]`,
		"a name that leaves its path":    `[{"name":"mtls-egress-external-system-com","secret":{"secretName":".."}}]`,
		"a name that is too long": `[{"name":"mtls-egress-external-system-com","secret":{"secretName":"` + fmt.Sprintf(
			"%0300d",
			1,
		) + `"}}]`,
		"not JSON": `{`,
	}
	for name, volumes := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.credential(secret)
			w.start(controller.Options{})
			w.pod("app", host)
			w.ready()
			w.pod("hostile", host, func(pod *corev1.Pod) {
				pod.Annotations = map[string]string{"sidecar.istio.io/userVolume": volumes}
			})
			await.Eventually(w, "", func() error {
				egressTarget, err := w.egressTarget()
				if err == nil && egressTarget.Status.Pods != 2 {
					err = fmt.Errorf("the status counts %d Pods, want 2", egressTarget.Status.Pods)
				}
				return err
			})
			w.allow("api.bank.example")
			w.notAllowed("has an entry that matches it")
		})
	}
}

// The label istio.io/rev makes a control plane of another revision ignore an object.
func TestMarksForIstioAreTakenOffGeneratedObjects(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	w.start(controller.Options{})
	w.pod("app", host)
	w.ready()
	for name, metadata := range map[string]map[string]any{
		"the label of a revision":        {"labels": map[string]any{"istio.io/rev": "nobody"}},
		"another label that Istio reads": {"labels": map[string]any{"networking.istio.io/enable-autoallocate-ip": "true"}},
		"an annotation that Istio reads": {
			"annotations": map[string]any{"networking.istio.io/traffic-distribution": "PreferClose"},
		},
	} {
		for _, o := range generated() {
			t.Run(name+" on the "+o.kind+" "+o.name, func(t *testing.T) {
				w := &world{TB: t, Client: w.Client, namespace: w.namespace}
				content, err := w.istio(o.kind, o.name)
				if err != nil {
					t.Fatal(err)
				}
				before := content.DeepCopy()
				w.patch(content, map[string]any{"metadata": metadata})
				w.patch(content,
					map[string]any{"metadata": map[string]any{"annotations": map[string]any{"example.com/note": "stays"}}})
				await.Eventually(w, "", func() error {
					after, err := w.istio(o.kind, o.name)
					if err != nil {
						return err
					}
					if diff := cmp.Diff(before.GetLabels(), after.GetLabels()); diff != "" {
						return fmt.Errorf("the labels (+) aren't as before (-):\n%s", diff)
					}
					if diff := cmp.Diff(map[string]string{"example.com/note": "stays"}, after.GetAnnotations()); diff != "" {
						return fmt.Errorf("the annotations (-want +got):\n%s", diff)
					}
					return nil
				})
				w.programmed(w.defaultSpecs())
			})
		}
	}
}

// A tenant with rights on Istio's objects can write any owner reference.
func TestAForgedOwnerMakesNoObjectOurs(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	w.start(controller.Options{})
	w.pod("app", host)
	w.ready()
	egressTarget, err := w.egressTarget()
	if err != nil {
		t.Fatal(err)
	}
	for name, owner := range map[string]metav1.OwnerReference{
		"kind and name": {
			APIVersion: "mtls.egress/v1alpha1",
			Kind:       "EgressTarget",
			Name:       host,
			UID:        "12345678-1234-1234-1234-123456789012",
		},
		"all of it": {APIVersion: "mtls.egress/v1alpha1", Kind: "EgressTarget", Name: host, UID: egressTarget.UID},
	} {
		t.Run(name, func(t *testing.T) {
			// Of two VirtualServices of one second the name decides, and theirs sorts before ours.
			w := newWorld(t)
			w.credential(secret)
			route := takesOurRoute()
			theirs := w.theirs(route.kind, foreignName, route.spec)
			w.patch(theirs, map[string]any{"metadata": map[string]any{
				"labels": map[string]any{egress.LabelManagedBy: egress.ValueManagedBy},
				"ownerReferences": []any{
					map[string]any{"apiVersion": owner.APIVersion, "kind": owner.Kind, "name": owner.Name, "uid": string(owner.UID)},
				},
			}})
			w.start(controller.Options{})
			w.pod("app", host)
			w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, "PlaintextPossible")
			w.settled(v1alpha1.ConditionConflicted, metav1.ConditionTrue, "Conflict")
			w.programmed(w.closedSpecs(standardLayout()))
			w.untouched(theirs)
		})
	}
}

func TestAServiceWithTheSinkholeAddressClosesTheTarget(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	w.credential(secret)
	w.start(controller.Options{})
	w.pod("app", host)
	w.ready()
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "catch"}, Spec: corev1.ServiceSpec{
		Ports: []corev1.ServicePort{{Port: 80}}, ExternalIPs: []string{egress.Sinkhole{}.Address(host).String()},
	}}
	other.create(service)
	w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, "PlaintextPossible")
	w.settled(v1alpha1.ConditionConflicted, metav1.ConditionTrue, "Conflict")
	w.programmed(w.closedSpecs(standardLayout()))
	other.patch(service, map[string]any{"spec": map[string]any{"externalIPs": nil}})
	w.ready()
	w.programmed(w.defaultSpecs())
}

// A name that the cluster answers can come to be one after a target of that name.
func TestAServiceOfTheHostsNameClosesTheTarget(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	short := "pay." + other.namespace
	w.credential("pay-mtls-data")
	w.start(controller.Options{})
	w.pod("app", short)
	await.Eventually(w, "", func() error {
		return w.hasCondition(short, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	})
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "pay"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
	other.create(service)
	await.Eventually(w, "", func() error {
		return w.hasCondition(short, v1alpha1.ConditionProgrammed, metav1.ConditionFalse, "PlaintextPossible")
	})
	other.remove(service)
	await.Eventually(w, "", func() error {
		return w.hasCondition(short, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	})
}

// hasCondition reports why the EgressTarget of a host does not have a condition, nil if it has.
func (w *world) hasCondition(name, kind string, status metav1.ConditionStatus, reason string) error {
	var egressTarget v1alpha1.EgressTarget
	if err := w.Get(w.Context(), types.NamespacedName{Namespace: w.namespace, Name: name}, &egressTarget); err != nil {
		return err
	}
	condition := meta.FindStatusCondition(egressTarget.Status.Conditions, kind)
	if condition == nil || condition.Status != status || condition.Reason != reason {
		return fmt.Errorf("%s of %s is %+v, want %s %s", kind, name, condition, status, reason)
	}
	return nil
}

// Each port of the anchor is one on which all sidecars of the namespace expect HTTP.
func TestTheAnchorHasThePortsOfTargetsWithPodsAlone(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	w.start(controller.Options{})
	w.create(
		&v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: host}, Spec: v1alpha1.EgressTargetSpec{AppPort: 5432}},
	)
	w.ready()
	w.anchorIs([]int64{80}, host)
	pod := w.pod("app", host)
	w.anchorIs([]int64{5432}, host)
	w.remove(pod)
	w.anchorIs([]int64{80}, host)
}
