package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/test/await"
)

// foreign is an object that the controller doesn't own. Its name sorts before ours, so that of two
// made in the same second it counts as older.
type foreign struct {
	kind string
	spec map[string]any
}

const foreignName = "a-by-hand"

// takesOurSubset is a DestinationRule that Istio follows in place of ours for the Pods with these
// labels.
func takesOurSubset(labels map[string]any) foreign {
	return foreign{mesh.KindDestinationRule, map[string]any{
		"host":             egress.MeshHost(host),
		"workloadSelector": map[string]any{"matchLabels": labels},
		"subsets":          []any{map[string]any{"name": mesh.SubsetName}},
	}}
}

// takesOurRoute is a VirtualService that Istio follows in place of ours: plain HTTP to the
// partner's TLS port.
func takesOurRoute() foreign {
	destination := map[string]any{"host": host, "port": map[string]any{"number": int64(443)}}
	return foreign{mesh.KindVirtualService, map[string]any{
		"hosts": []any{
			host,
		}, "exportTo": []any{"."}, "http": []any{map[string]any{"route": []any{map[string]any{"destination": destination}}}},
	}}
}

// closedSpecs are those of a closed target with nothing set.
func (w *world) closedSpecs(layout egress.Layout) map[object]any {
	w.Helper()
	closed := mesh.Closed(egress.FromEgressTarget(w.namespace, host, nil, egress.Sinkhole{}), layout)
	all := append([]mesh.Object{mesh.Anchor(w.namespace, []int32{egress.DefaultAppPort})}, closed...)
	specs := map[object]any{}
	for _, o := range all {
		content, err := mesh.Unstructured(o)
		if err != nil {
			w.Fatal(err)
		}
		specs[object{content.GetKind(), content.GetName()}] = content.Object["spec"]
	}
	return specs
}

// told waits for an event about an object.
func (w *world) told(about client.Object, event string) {
	w.Helper()
	await.Eventually(w, "", func() error {
		if events := w.events(about); !slices.Contains(events, event) {
			return fmt.Errorf("the events are %q, want %q among them", events, event)
		}
		return nil
	})
}

func standardLayout() egress.Layout {
	return egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"}
}

func TestATargetIsClosedWhileSomebodyElsesObjectCouldLeadItsCallsOut(t *testing.T) {
	tests := map[string]foreign{
		"a DestinationRule with our label and our subset":     takesOurSubset(map[string]any{egress.HostLabel(host): "true"}),
		"a DestinationRule with another label and our subset": takesOurSubset(map[string]any{"app": "orders"}),
		"a VirtualService that is private to the namespace":   takesOurRoute(),
		"a DestinationRule that selects every injected Pod":   takesOurSubset(map[string]any{egress.LabelInjected: "true"}),
		"a DestinationRule that asks for both of those labels": takesOurSubset(
			map[string]any{egress.LabelInjected: "true", egress.HostLabel(host): "true"},
		),
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.credential(secret)
			theirs := w.theirs(test.kind, foreignName, test.spec)
			w.start(controller.Options{})
			w.pod("app", host)

			w.settled(v1alpha1.ConditionReady, metav1.ConditionFalse, "PlaintextPossible")
			w.settled(v1alpha1.ConditionConflicted, metav1.ConditionTrue, "Conflict")
			egressTarget := w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, "PlaintextPossible")
			w.programmed(w.closedSpecs(standardLayout()))
			w.untouched(theirs)
			w.told(egressTarget, "Warning PlaintextPossible")

			w.remove(theirs)
			egressTarget = w.ready()
			w.programmed(w.defaultSpecs())
			w.told(egressTarget, "Normal Programmed")
		})
	}
}

func TestAnObjectThatBecomesDangerousClosesTheTarget(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	dangerous := takesOurSubset(map[string]any{"app": "orders"})
	harmless := map[string]any{
		"host":             "elsewhere.system.com",
		"workloadSelector": dangerous.spec["workloadSelector"],
		"subsets":          dangerous.spec["subsets"],
	}
	theirs := w.theirs(dangerous.kind, foreignName, harmless)
	r := w.start(controller.Options{})
	w.pod("app", host)
	w.ready()
	w.programmed(w.defaultSpecs())
	before := len(w.writes(r))

	w.patch(theirs, map[string]any{"spec": map[string]any{"host": egress.MeshHost(host)}})
	w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, "PlaintextPossible")
	w.programmed(w.closedSpecs(standardLayout()))
	var got []string
	for _, line := range w.writes(r)[before:] {
		path, _, _ := strings.Cut(line, "?")
		if strings.Contains(path, "/"+egress.ObjectName(host)) {
			method, path, _ := strings.Cut(path, " ")
			got = append(got, method+" "+strings.Split(path, "/")[6])
		}
	}
	got = slices.Compact(got)
	if diff := cmp.Diff([]string{"PATCH virtualservices", "DELETE serviceentries"}, got); diff != "" {
		t.Errorf("writes in their order (-want +got):\n%s", diff)
	}

	w.patch(theirs, map[string]any{"spec": map[string]any{"host": "elsewhere.system.com"}})
	w.ready()
	w.programmed(w.defaultSpecs())
}

// The route that closes a target is the one that was open, so it stays older than what came after
// it.
func TestAClosedTargetKeepsItsAge(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	route := takesOurRoute()
	older := w.theirs(route.kind, foreignName, route.spec)
	w.start(controller.Options{})
	w.pod("app", host)
	w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, "PlaintextPossible")
	w.programmed(w.closedSpecs(standardLayout()))

	// Its name sorts after ours.
	newer := w.theirs(route.kind, "z-by-hand", route.spec)
	w.remove(older)
	w.programmed(w.defaultSpecs())
	w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionTrue, "Programmed")
	w.settled(v1alpha1.ConditionConflicted, metav1.ConditionTrue, "Conflict")
	w.remove(newer)
	w.ready()
}

func TestATargetWithoutCredentialIsClosedToo(t *testing.T) {
	w := newWorld(t)
	route := takesOurRoute()
	theirs := w.theirs(route.kind, foreignName, route.spec)
	w.start(controller.Options{})
	w.pod("app", host)
	w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, "PlaintextPossible")
	w.settled(v1alpha1.ConditionReady, metav1.ConditionFalse, "SecretMissing")
	w.programmed(w.closedSpecs(egress.Layout{}))
	w.remove(theirs)
	w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, "CredentialInvalid")
	// The route that leads nowhere harms nobody, and stays until there is something to lead to.
	w.programmed(w.closedSpecs(egress.Layout{}))
	w.credential(secret)
	w.pod("second", host)
	w.ready()
	w.programmed(w.defaultSpecs())
}

func TestAClosedTargetGoesWithItsLastPod(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	route := takesOurRoute()
	theirs := w.theirs(route.kind, foreignName, route.spec)
	w.start(controller.Options{})
	pod := w.pod("app", host)
	egressTarget := w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, "PlaintextPossible")
	w.programmed(w.closedSpecs(standardLayout()))
	if err := w.Delete(t.Context(), egressTarget); err != nil {
		t.Fatal(err)
	}
	w.remove(pod)
	w.gone()
	w.nothingProgrammed()
	w.untouched(theirs)
}
