package mesh_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/target"
)

const (
	corpus       = "../../test/testdata/mesh"
	goldenSuffix = ".objects.yaml"
	// updateGolden is the environment variable that rewrites the golden files, as in UPDATE_GOLDEN=1 go test ./internal/mesh.
	updateGolden = "UPDATE_GOLDEN"
)

// goldenInput is what stands in an input file after the EgressTarget. All of it is optional.
type goldenInput struct {
	DNSCapture bool           `json:"dnsCapture"`
	Layout     *target.Layout `json:"layout"`
}

// TestObjectsAreTheGoldenOnes holds the objects of each EgressTarget in the corpus, the anchor included and in the order of
// writing, against the file beside it.
func TestObjectsAreTheGoldenOnes(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpus, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	inputs, goldens := 0, []string{}
	for _, file := range files {
		if strings.HasSuffix(file, goldenSuffix) {
			goldens = append(goldens, file)
			continue
		}
		inputs++
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			got := render(t, file)
			golden := strings.TrimSuffix(file, ".yaml") + goldenSuffix
			if os.Getenv(updateGolden) != "" {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v; write it with %s=1 and read it before you commit it", err, updateGolden)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("objects differ from %s (-want +got):\n%s", golden, diff)
			}
		})
	}
	if inputs == 0 {
		t.Errorf("no input found in %s", corpus)
	}
	for _, golden := range goldens {
		if input := strings.TrimSuffix(golden, goldenSuffix) + ".yaml"; !slices.Contains(files, input) {
			t.Errorf("%s is stale: there is no %s", golden, input)
		}
	}
}

func render(t *testing.T, file string) []byte {
	t.Helper()
	resolved, layout, opts := readInput(t, file)
	objects := []runtime.Object{mesh.Anchor(resolved.Namespace, []int32{resolved.AppPort})}
	for _, obj := range mesh.Objects(resolved, layout, opts) {
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

func readInput(t *testing.T, file string) (target.Target, target.Layout, mesh.Options) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	egressTarget := &v1alpha1.EgressTarget{}
	input := goldenInput{}
	for _, into := range []any{egressTarget, &input} {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(document, into); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	layout := target.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"}
	if input.Layout != nil {
		layout = *input.Layout
	}
	resolved := target.FromEgressTarget(egressTarget.Namespace, egressTarget.Name, egressTarget)
	return resolved, layout, mesh.Options{DNSCapture: input.DNSCapture}
}
