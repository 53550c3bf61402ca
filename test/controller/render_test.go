package controller

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/test/await"
)

// TestRenderPrintsWhatTheControllerWrites exports a namespace, without what the controller made for
// the mesh, and compares what the command makes of it with what is in the cluster, to the last
// byte of labels and spec.
func TestRenderPrintsWhatTheControllerWrites(t *testing.T) {
	// Of one sinkhole address.
	const one, other = "h12065.example.com", "h12089.example.com"
	asked := func(w *world, spec v1alpha1.EgressTargetSpec) {
		egressTarget := &v1alpha1.EgressTarget{Spec: spec}
		egressTarget.Name = host
		w.create(egressTarget)
	}
	tests := map[string]struct {
		set func(*world)
		// warnings are how many are printed, one for each that keeps the target from being ready.
		warnings int
	}{
		"a target with the defaults":  {set: func(w *world) { w.pod("app", host) }},
		"a port that a Pod asked for": {set: func(w *world) { w.pod("app", host+":8443") }},
		"all settings": {set: func(w *world) {
			asked(w, v1alpha1.EgressTargetSpec{
				Port: 8443, AppPort: 8080, SNI: "sni.system.com", SubjectAltNames: []string{"a.system.com", "b.system.com"},
				ServerCA: &v1alpha1.ServerCA{System: new(true)},
			})
			w.pod("app", host+":8443")
		}},
		"two targets": {set: func(w *world) {
			w.pod("app", host)
			w.credential("api-system-mtls-data")
			w.pod("other", "api.system.com")
		}},
		"a target without Pods": {set: func(w *world) { asked(w, v1alpha1.EgressTargetSpec{AppPort: 8080}) }},
		"one with a Pod and one without": {set: func(w *world) {
			asked(w, v1alpha1.EgressTargetSpec{AppPort: 8080})
			w.credential("api-system-mtls-data")
			w.pod("other", "api.system.com")
		}},
		"two targets of one sinkhole address": {set: func(w *world) {
			w.credential("h12065-example-mtls-data")
			w.credential("h12089-example-mtls-data")
			w.pod("one", one)
			w.pod("other", other)
		}},
		"closed, as an older private VirtualService leads to the host": {set: func(w *world) {
			route := takesOurRoute()
			w.theirs(route.kind, foreignName, route.spec)
			w.pod("app", host)
		}, warnings: 2},
		"closed, as a DestinationRule has our subset": {set: func(w *world) {
			rule := takesOurSubset(map[string]any{"app": "orders"})
			w.theirs(rule.kind, foreignName, rule.spec)
			w.pod("app", host)
		}, warnings: 2},
		"closed, as a ServiceEntry holds the sinkhole address": {set: func(w *world) {
			w.theirs(mesh.KindServiceEntry, foreignName, map[string]any{
				"hosts": []any{
					"api.example.org",
				}, "addresses": []any{egress.Sinkhole{}.Address(host).String()}, "exportTo": []any{"."},
				"ports": []any{map[string]any{"number": int64(80), "name": "tcp", "protocol": "TCP"}},
			})
			w.pod("app", host)
		}, warnings: 2},
		"in conflict, and open": {set: func(w *world) {
			route := takesOurRoute()
			route.spec["hosts"] = []any{"*.system.com"}
			w.theirs(route.kind, foreignName, route.spec)
			w.pod("app", host)
		}, warnings: 1},
		"a Pod with a Secret of its own before one without": {set: func(w *world) {
			w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "own"}, Data: goodData(w)})
			w.pod("a", host, presenting("own"))
			w.pod("b", host)
		}},
		"Secrets with different keys": {set: func(w *world) {
			w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "second"}, Data: tlsLayout(goodData(w))})
			w.pod("app", host)
			w.pod("second", host, presenting("second"))
			w.pod("third", host, presenting("second"))
		}, warnings: 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.credential(secret)
			test.set(w)
			w.start(controller.Options{})
			var output *manifests.Output
			await.Eventually(w, "", func() error {
				documents, written := w.exported()
				var problems []manifests.Problem
				output, problems = manifests.Render(documents,
					manifests.Options{Policy: policy.Cluster{Other: policy.OtherAllow}, Now: time.Now()})
				if len(problems) > 0 {
					return fmt.Errorf("render refuses: %v", problems)
				}
				var rendered []string
				for _, object := range output.Objects {
					rendered = append(rendered, w.bytes(object))
				}
				slices.Sort(rendered)
				if diff := cmp.Diff(written, rendered); diff != "" {
					return fmt.Errorf("rendered (+) and in the cluster (-) differ:\n%s", diff)
				}
				return nil
			})
			if len(output.Warnings) != test.warnings {
				t.Errorf("warnings: %q, want %d", output.Warnings, test.warnings)
			}
		})
	}
}

// exported returns what a team would have in its manifests, and what the controller wrote for the
// mesh.
func (w *world) exported() (documents []manifests.Document, written []string) {
	w.Helper()
	add := func(object map[string]any) {
		documents = append(documents,
			manifests.Document{Source: "export.yaml", Number: len(documents) + 1, Line: 1, Object: object})
	}
	namespace := &unstructured.Unstructured{}
	namespace.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"})
	if err := w.Get(w.Context(), types.NamespacedName{Name: w.namespace}, namespace); err != nil {
		w.Fatal(err)
	}
	add(namespace.Object)
	kinds := []schema.GroupVersionKind{
		{Version: "v1", Kind: "Pod"}, {Version: "v1", Kind: "Secret"}, v1alpha1.GroupVersion().WithKind(v1alpha1.Kind),
	}
	for _, kind := range mesh.HostKinds() {
		kinds = append(kinds, mesh.GroupVersion().WithKind(kind))
	}
	for _, kind := range kinds {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := w.List(w.Context(), list, client.InNamespace(w.namespace)); err != nil {
			w.Fatal(err)
		}
		for _, object := range list.Items {
			if mesh.Owned(&object) && strings.HasPrefix(object.GetName(), egress.AnchorName) {
				written = append(written, w.bytes(object.Object))
				continue
			}
			object.SetManagedFields(nil)
			add(object.Object)
		}
	}
	slices.Sort(written)
	return documents, written
}

// bytes is what manifests and the cluster have in common of an object, as JSON.
func (w *world) bytes(object map[string]any) string {
	w.Helper()
	content := unstructured.Unstructured{Object: object}
	text, err := json.Marshal([]any{
		content.GetAPIVersion(), content.GetKind(), content.GetNamespace(), content.GetName(), content.GetLabels(),
		object["spec"],
	})
	if err != nil {
		w.Fatal(err)
	}
	return string(text)
}
