package chart

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// The icon has to be a URL, and no website is ours.
func TestTheIconIsTheFile(t *testing.T) {
	icon, err := os.ReadFile(filepath.Join(chartDir, "icon.svg"))
	if err != nil {
		t.Fatal(err)
	}
	want := "data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString(icon)
	if got := fromFile(t, "Chart.yaml").Object["icon"]; got != want {
		t.Errorf("icon in Chart.yaml: %s, want the file icon.svg: %s", got, want)
	}
}

// TestArtifactHub compares the description of the CustomResourceDefinition in Chart.yaml with it.
func TestArtifactHub(t *testing.T) {
	crd := fromFile(t, "files/crds/mtls.egress_egresstargets.yaml")
	var got []map[string]string
	annotation(t, "artifacthub.io/crds", &got)
	names := at(t, crd, "spec", "names").(map[string]any)
	want := []map[string]string{{
		"kind": names["kind"].(string), "displayName": names["kind"].(string), "name": crd.GetName(),
		"version": at(t, crd, "spec", "versions", 0, "name").(string),
	}}
	for _, described := range got {
		if described["description"] == "" {
			t.Errorf("%s has no description", described["name"])
		}
		delete(described, "description")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-CustomResourceDefinition +annotation):\n%s", diff)
	}
}

// annotation reads an annotation of Chart.yaml, whose value is YAML.
func annotation(t *testing.T, name string, into any) {
	t.Helper()
	text, _, err := unstructured.NestedString(fromFile(t, "Chart.yaml").Object, "annotations", name)
	if err != nil || text == "" {
		t.Fatalf("annotation %s %q of Chart.yaml: %v", name, text, err)
	}
	if err := yaml.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}
