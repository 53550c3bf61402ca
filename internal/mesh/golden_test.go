package mesh_test

import (
	"bytes"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/test/golden"
)

const corpus = "../../test/testdata/mesh"

// goldenInput is the second document of an input file, after the EgressTarget. All fields are
// optional.
type goldenInput struct {
	Layout *egress.Layout `json:"layout"`
}

// TestObjectsAreTheGoldenOnes compares the objects of each EgressTarget in the corpus with its
// golden file. They include the anchor and are in the order of writing.
func TestObjectsAreTheGoldenOnes(t *testing.T) {
	inputs := golden.Inputs(t, corpus)
	for _, name := range golden.Names(inputs) {
		t.Run(name, func(t *testing.T) {
			golden.Compare(t, golden.File(inputs[name]), render(t, inputs[name]))
		})
	}
}

func render(t *testing.T, file string) []byte {
	t.Helper()
	resolved, layout := readInput(t, file)
	objects := []runtime.Object{mesh.Anchor(resolved.Namespace, []int32{resolved.AppPort})}
	for _, obj := range mesh.Objects(resolved, layout) {
		objects = append(objects, obj)
	}
	var out bytes.Buffer
	for i, obj := range objects {
		content, err := mesh.Unstructured(obj)
		if err != nil {
			t.Fatal(err)
		}
		text, err := yaml.Marshal(content.Object)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			out.WriteString("---\n")
		}
		out.Write(text)
	}
	return out.Bytes()
}

func readInput(t *testing.T, file string) (egress.Target, egress.Layout) {
	t.Helper()
	egressTarget := &v1alpha1.EgressTarget{}
	input := goldenInput{}
	into := []any{egressTarget, &input}
	for n, document := range golden.Documents(t, file) {
		if err := yaml.UnmarshalStrict(document, into[n]); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	layout := egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"}
	if input.Layout != nil {
		layout = *input.Layout
	}
	resolved := egress.FromEgressTarget(egressTarget.Namespace, egressTarget.Name, egressTarget, egress.Sinkhole{})
	return resolved, layout
}
