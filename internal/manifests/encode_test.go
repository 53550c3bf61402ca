package manifests_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	yamlv3 "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/test/scalars"
)

// TestWhatIsWrittenIsReadBack reads the documents with the parser of Kubernetes, which knows YAML
// 1.1, and with one for YAML 1.2. test/scalars has more of them.
func TestWhatIsWrittenIsReadBack(t *testing.T) {
	objects := scalars.Objects(1_000)
	stream, err := manifests.YAML(objects)
	if err != nil {
		t.Fatal(err)
	}
	documents := yamlv3.NewDecoder(bytes.NewReader(stream))
	for n, object := range objects {
		want := normalized(t, object)
		alone, err := manifests.YAML([]map[string]any{object})
		if err != nil {
			t.Fatal(err)
		}
		var kubernetes map[string]any
		encoded, err := yaml.YAMLToJSON(alone)
		if err == nil {
			err = json.Unmarshal(encoded, &kubernetes)
		}
		if err != nil {
			t.Fatalf("document %d: %v", n, err)
		}
		if !reflect.DeepEqual(want, kubernetes) {
			t.Fatalf("document %d, read by Kubernetes (-want +got):\n%s", n, cmp.Diff(want, kubernetes))
		}
		var other any
		if err := documents.Decode(&other); err != nil {
			t.Fatalf("document %d: %v", n, err)
		}
		if got := normalized(t, other); !reflect.DeepEqual(want, got) {
			t.Fatalf("document %d, read as YAML 1.2 (-want +got):\n%s", n, cmp.Diff(want, got))
		}
	}
	if err := documents.Decode(new(any)); !errors.Is(err, io.EOF) {
		t.Errorf("after the last document: %v", err)
	}
}

// normalized returns the value as decoded from JSON.
func normalized(t *testing.T, value any) map[string]any {
	t.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var decoded map[string]any
	if err := json.Unmarshal(encoded, &decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}
