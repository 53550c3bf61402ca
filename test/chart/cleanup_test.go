package chart

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

const cleanupName = "mtls-egress-webhook-cleanup"

// program makes an EgressTarget of a user or of the controller, and what the controller makes for
// it.
func (r *installedRelease) program(t *testing.T, namespace string, made bool) {
	t.Helper()
	egressTarget := &v1alpha1.EgressTarget{}
	egressTarget.Namespace, egressTarget.Name, egressTarget.Finalizers = namespace, "external.system.com", []string{
		egress.Finalizer,
	}
	var options []client.CreateOption
	if made {
		egressTarget.Labels = map[string]string{egress.LabelManagedBy: egress.ValueManagedBy}
		options = append(options, client.FieldOwner(controller.FieldManager))
	}
	if err := r.targets.Create(t.Context(), egressTarget, options...); err != nil {
		t.Fatal(err)
	}
	egressTarget.Status.Pods = 1
	if err := r.targets.Status().Update(
		t.Context(), egressTarget, client.FieldOwner(controller.FieldManager),
	); err != nil {
		t.Fatal(err)
	}
	anchor := generated(namespace, mesh.KindServiceEntry)
	anchor.SetName(egress.AnchorName)
	for _, object := range append(
		[]client.Object{anchor}, generated(namespace, mesh.KindVirtualService),
		generated(namespace, mesh.KindDestinationRule), generated(namespace, mesh.KindServiceEntry),
	) {
		owners := object.GetOwnerReferences()
		owners[0].UID = egressTarget.UID
		object.SetOwnerReferences(owners)
		if err := r.as(t, controllerUser).Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
}

// programmed names the EgressTargets and the Istio objects of a namespace.
func (r *installedRelease) programmed(t *testing.T, namespace string) []string {
	t.Helper()
	found := strings.Fields(r.kubectl(t, "get", "egresstargets,serviceentries,virtualservices,destinationrules",
		"--namespace", namespace, "--output=name"))
	slices.Sort(found)
	return found
}

const targetName = "egresstarget.mtls.egress/external.system.com"

// all are the objects of one target.
func all() []string {
	return []string{
		"destinationrule.networking.istio.io/mtls-egress-external.system.com", targetName,
		"serviceentry.networking.istio.io/mtls-egress",
		"serviceentry.networking.istio.io/mtls-egress-external.system.com",
		"virtualservice.networking.istio.io/mtls-egress-external.system.com",
	}
}

// cleanUp runs the cleanup as an administrator does who has uninstalled without hooks.
func (r *installedRelease) cleanUp(t *testing.T, args ...string) (said string, err error) {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), r.command,
		append([]string{"uninstall-cleanup", "--kubeconfig=" + r.Kubeconfig}, args...)...).
		CombinedOutput()
	return string(output), err
}

// wantProgrammed compares what there is in namespaces.
func (r *installedRelease) wantProgrammed(t *testing.T, when string, want map[string][]string) {
	t.Helper()
	got := map[string][]string{}
	for namespace := range want {
		got[namespace] = r.programmed(t, namespace)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

// wantAbandoned fails the test unless the EgressTarget of a user is there as if no controller had
// ever read it.
func (r *installedRelease) wantAbandoned(t *testing.T, namespace string) {
	t.Helper()
	var egressTarget v1alpha1.EgressTarget
	if err := r.targets.Get(t.Context(), client.ObjectKey{
		Namespace: namespace,
		Name:      "external.system.com",
	}, &egressTarget); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v1alpha1.EgressTargetStatus{}, egressTarget.Status); len(egressTarget.Finalizers) > 0 ||
		diff != "" {
		t.Errorf("the user's EgressTarget has the finalizers %q and the status (-want +got):\n%s",
			egressTarget.Finalizers, diff)
	}
}

// newTargetClient is a client that knows EgressTargets.
func newTargetClient(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
