package chart

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestGitOpsExamples holds the manifests in examples/gitops to the chart: their values are taken,
// and what they leave to the webhook is in what the chart renders. That the kinds have these fields
// is not tested.
func TestGitOpsExamples(t *testing.T) {
	tests := map[string]struct {
		file, object string
		// name, where and chart are the paths of the release's name, its namespace and the folder of the
		// chart, values that of its values.
		name, where, chart, values []string
		// spared returns what the tool leaves to the webhook: the configuration, and the paths in it.
		spared func(object map[string]any) (configuration string, paths []string)
		want   []string
	}{
		"Argo CD": {
			file: "argocd.yaml", object: "Application mtls-egress-webhook",
			name: []string{"source", "helm", "releaseName"}, where: []string{"destination", "namespace"},
			chart: []string{"source", "path"}, values: []string{"source", "helm", "valuesObject"},
			spared: func(object map[string]any) (string, []string) {
				rules, _, _ := unstructured.NestedSlice(object, "spec", "ignoreDifferences")
				rule, _ := rules[0].(map[string]any)
				paths, _, _ := unstructured.NestedStringSlice(rule, "jqPathExpressions")
				return fmt.Sprintf("%s/%s %s", rule["group"], rule["kind"], rule["name"]), paths
			},
			want: []string{".webhooks[]?.clientConfig.caBundle"},
		},
		"Flux": {
			file: "flux.yaml", object: "HelmRelease mtls-egress-webhook",
			name: []string{"releaseName"}, where: nil,
			chart: []string{"chart", "spec", "chart"}, values: []string{"values"},
			spared: func(object map[string]any) (string, []string) {
				rules, _, _ := unstructured.NestedSlice(object, "spec", "driftDetection", "ignore")
				rule, _ := rules[0].(map[string]any)
				target, _, _ := unstructured.NestedMap(rule, "target")
				paths, _, _ := unstructured.NestedStringSlice(rule, "paths")
				return fmt.Sprintf("admissionregistration.k8s.io/%s %s", target["kind"], target["name"]), paths
			},
			want: caBundlePaths(t),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(filepath.Join("..", "..", "examples", "gitops", test.file))
			if err != nil {
				t.Fatal(err)
			}
			object := read(t, string(content))[test.object]
			if object == nil {
				t.Fatalf("%s has no %s", test.file, test.object)
			}
			text := func(path []string) string {
				value, _, err := unstructured.NestedString(object.Object, append([]string{"spec"}, path...)...)
				if err != nil {
					t.Fatal(err)
				}
				return value
			}
			where := object.GetNamespace()
			if test.where != nil {
				where = text(test.where)
			}
			folder := filepath.Join("..", "..", text(test.chart))
			if diff := cmp.Diff(
				[]string{release, namespace, filepath.Clean(chartDir)}, []string{text(test.name), where, folder},
			); diff != "" {
				t.Errorf("release, namespace, chart (-want +got):\n%s", diff)
			}
			values, found, err := unstructured.NestedMap(object.Object, append([]string{"spec"}, test.values...)...)
			if err != nil || !found {
				t.Fatalf("values found: %v, error %v", found, err)
			}
			encoded, err := json.Marshal(values)
			if err != nil {
				t.Fatal(err)
			}
			rendered := render(t, "--values", writeFile(t, "values.json", string(encoded)))
			image, _ := at(t, rendered["Deployment "+release], "spec", "template", "spec", "containers", 0, "image").(string)
			wanted := fmt.Sprintf("%s:%s", values["image"].(map[string]any)["repository"],
				values["image"].(map[string]any)["tag"])
			if image != wanted {
				t.Errorf("the chart renders the image %q, want %q", image, wanted)
			}
			configuration, paths := test.spared(object.Object)
			if want := "admissionregistration.k8s.io/MutatingWebhookConfiguration " + configurationName; configuration != want ||
				!slices.Equal(paths, test.want) {
				t.Errorf("left to the webhook are %q of %s, want %q of %s", paths, configuration, test.want, want)
			}
		})
	}
}

// caBundlePaths are the pointers to the caBundle of each webhook, which the chart leaves out.
func caBundlePaths(t *testing.T) []string {
	t.Helper()
	var paths []string
	webhooks, _, err := unstructured.NestedSlice(render(t).one(t, "MutatingWebhookConfiguration").Object, "webhooks")
	if err != nil {
		t.Fatal(err)
	}
	for index, webhook := range webhooks {
		if bundle, there, _ := unstructured.NestedString(webhook.(map[string]any), "clientConfig", "caBundle"); there {
			t.Errorf("the chart renders the caBundle %q", bundle)
		}
		paths = append(paths, fmt.Sprintf("/webhooks/%d/clientConfig/caBundle", index))
	}
	return paths
}
