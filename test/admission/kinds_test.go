package admission_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"mtls.egress/webhook/internal/workload"
	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
)

// realCRDs are the kinds whose own CustomResourceDefinitions are installed. The others get one that
// allows everything.
func realCRDs() []string {
	return []string{"rollouts.argoproj.io", "services.serving.knative.dev", "jobsets.jobset.x-k8s.io"}
}

// version is the API version of a kind that the tests use.
func version(resource string) string {
	_, group, _ := strings.Cut(resource, ".")
	return map[string]string{
		"": "v1", "apps": "v1", "batch": "v1", "argoproj.io": "v1alpha1", "serving.knative.dev": "v1",
		"apps.openshift.io": "v1", "apps.kruise.io": "v1beta1", "jobset.x-k8s.io": "v1alpha2",
		"leaderworkerset.x-k8s.io": "v1", "batch.volcano.sh": "v1alpha1", "sparkoperator.k8s.io": "v1beta2",
		"flink.apache.org": "v1beta1",
	}[group]
}

// withCRDs installs the CustomResourceDefinitions of all kinds, once.
var withCRDs = sync.OnceValue(func() error {
	ctx := context.Background()
	files, err := apiserver.WorkloadCRDs(ctx)
	if err != nil {
		return err
	}
	if err := installed.InstallCRDs(ctx, files...); err != nil {
		return err
	}
	var names []string
	for resource, kind := range workload.Known() {
		plural, group, _ := strings.Cut(resource, ".")
		if slices.Contains([]string{"", "apps", "batch"}, group) {
			continue
		}
		names = append(names, "crd/"+resource)
		if slices.Contains(realCRDs(), resource) {
			continue
		}
		crd := fmt.Sprintf(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
"metadata":{"name":%q,"annotations":{"api-approved.kubernetes.io":"unapproved, for a test"}},
"spec":{"group":%q,"scope":"Namespaced","names":{"plural":%q,"kind":%q,"singular":%q},
"versions":[{"name":%q,"served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object",
"x-kubernetes-preserve-unknown-fields":true}}}]}}`,
			resource, group, plural, kind.Kind, strings.ToLower(kind.Kind), version(resource))
		if _, err := installed.KubectlWith(ctx, crd, "apply", "--filename=-"); err != nil {
			return err
		}
	}
	_, _, err = installed.Kubectl(ctx, append([]string{
		"wait", "--for=condition=Established", "--timeout=" + await.Patience.String(),
	}, names...)...)
	return err
})

// podTemplate is a Pod template that is complete for all kinds.
func podTemplate(metadata map[string]any) map[string]any {
	template := map[string]any{"spec": map[string]any{
		"restartPolicy": "Always", "containers": []any{map[string]any{"name": "app", "image": "app"}},
	}}
	if metadata != nil {
		template["metadata"] = metadata
	}
	return template
}

// workloadOf returns a workload of a kind called shop, with two elements in each list, and metadata
// in each Pod template.
func workloadOf(resource string, annotations, templateMetadata map[string]any) map[string]any {
	kind := workload.Known()[resource]
	_, group, _ := strings.Cut(resource, ".")
	labels := map[string]any{"app": "shop"}
	if group == "" || group == "apps" || group == "batch" {
		templateMetadata = maps.Clone(templateMetadata)
		if templateMetadata == nil {
			templateMetadata = map[string]any{}
		}
		templateMetadata["labels"] = labels
	}
	spec := map[string]any{}
	switch {
	case resource == "replicationcontrollers":
		spec["selector"] = labels
	case group == "apps":
		spec["selector"] = map[string]any{"matchLabels": labels}
	case resource == "cronjobs.batch":
		spec["schedule"] = "0 0 1 1 *"
	}
	if resource == "statefulsets.apps" {
		spec["serviceName"] = "shop"
	}
	object := map[string]any{
		"apiVersion": strings.TrimPrefix(group+"/"+version(resource), "/"), "kind": kind.Kind,
		"metadata": map[string]any{"name": "shop", "annotations": annotations}, "spec": spec,
	}
	for _, path := range kind.Templates {
		template := podTemplate(templateMetadata)
		if group == "batch" || group == "jobset.x-k8s.io" {
			template["spec"].(map[string]any)["restartPolicy"] = "Never"
		}
		if resource == "services.serving.knative.dev" {
			delete(template["spec"].(map[string]any), "restartPolicy")
		}
		put(object, path.Fields(), template)
	}
	return object
}

// put sets the value at a path. Of a list it makes two elements.
func put(object map[string]any, path []string, value any) {
	name, list := strings.CutSuffix(path[0], workload.Elements)
	switch {
	case len(path) == 1:
		object[name] = value
	case list:
		var elements []any
		for _, element := range []string{"one", "two"} {
			child := map[string]any{"name": element}
			put(child, path[1:], value)
			elements = append(elements, child)
		}
		object[name] = elements
	default:
		child, _ := object[name].(map[string]any)
		if child == nil {
			child = map[string]any{}
			object[name] = child
		}
		put(child, path[1:], value)
	}
}

// ofPods returns the annotations in the templates of the workload in the cluster.
func (w *world) ofPods(resource string) []map[string]string {
	w.Helper()
	kind := workload.Known()[resource]
	object := &unstructured.Unstructured{}
	group := schema.ParseGroupResource(resource).Group
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: version(resource), Kind: kind.Kind})
	w.read(object, "shop")
	encoded, err := object.MarshalJSON()
	if err != nil {
		w.Fatal(err)
	}
	var found []map[string]string
	for _, place := range kind.PodAnnotations(encoded) {
		var annotations map[string]string
		if place.JSON != nil {
			if err := json.Unmarshal(place.JSON, &annotations); err != nil {
				w.Fatal(err)
			}
		}
		found = append(found, annotations)
	}
	return found
}

// manifest encodes an object.
func manifest(t *testing.T, object map[string]any) string {
	t.Helper()
	encoded, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// TestEveryKindOfWorkloadIsPropagated creates a workload of each known kind, changes and removes
// the annotation.
func TestEveryKindOfWorkloadIsPropagated(t *testing.T) {
	if err := withCRDs(); err != nil {
		t.Fatal(err)
	}
	const target = "mtls.egress/target"
	asks := map[string]any{target: host}
	want := map[string]string{target: host, "mtls.egress/propagated": `{"mtls.egress/target":"external.system.com"}`}
	other := map[string]string{
		target: "api.partner.example", "mtls.egress/propagated": `{"mtls.egress/target":"api.partner.example"}`,
	}
	for _, resource := range slices.Sorted(maps.Keys(workload.Known())) {
		kind := workload.Known()[resource]
		for name, metadata := range map[string]map[string]any{
			"metadata in the template": {"annotations": map[string]any{"note": "the user's"}}, "none": nil,
		} {
			t.Run(resource+", "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				expect := func(step string, wanted map[string]string) {
					t.Helper()
					got := w.ofPods(resource)
					if len(kind.Annotations) == 0 && strings.Contains(string(kind.Templates[0]), "[*]") && len(got) != 2 {
						t.Errorf("%s: %d templates, want 2", step, len(got))
					}
					for _, annotations := range got {
						wanted := maps.Clone(wanted)
						if metadata != nil && len(kind.Templates) > 0 {
							wanted["note"] = "the user's"
						}
						if diff := cmp.Diff(wanted, annotations); diff != "" && len(wanted)+len(annotations) > 0 {
							t.Errorf("%s: (-want +got):\n%s", step, diff)
						}
					}
				}
				object := workloadOf(resource, asks, metadata)
				w.kubectlWith(manifest(t, object), "apply", "--filename=-")
				expect("created", want)
				object["metadata"].(map[string]any)["annotations"] = map[string]any{target: "api.partner.example"}
				if kind.Immutable {
					said, err := installed.Submit(t.Context(), "apply", w.namespace, manifest(t, object))
					if err != nil {
						t.Fatal(err)
					}
					if !strings.Contains(said, "is immutable, so its Pods don't change; delete the "+kind.Kind) {
						t.Errorf("the change of an immutable template said %q", said)
					}
					expect("changed", want)
					return
				}
				w.kubectlWith(manifest(t, object), "apply", "--filename=-")
				expect("changed", other)
				object["metadata"].(map[string]any)["annotations"] = map[string]any{}
				w.kubectlWith(manifest(t, object), "apply", "--filename=-")
				expect("removed", map[string]string{})
			})
		}
	}
}
