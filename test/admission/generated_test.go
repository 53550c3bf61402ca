package admission_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/mesh"
)

// TestEveryGeneratedObjectIsValidForIstio holds the golden files against the schemas and rules in
// Istio's CRDs, with fields that they don't know refused. The other rules of Istio are in a webhook
// of istiod's.
func TestEveryGeneratedObjectIsValidForIstio(t *testing.T) {
	w := newWorld(t)
	w.unprotect(func() error {
		rule := istioObject{kind: "DestinationRule", name: "unprotected"}.in(w.namespace)
		rule.Object["spec"] = map[string]any{"host": "*", "subsets": []any{map[string]any{"name": mesh.SubsetName}}}
		return w.Create(t.Context(), rule, client.DryRunAll)
	})
	files, err := filepath.Glob(filepath.Join(installed.Root, "test", "testdata", "mesh", "*.golden.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 15 {
		t.Fatalf("golden files %q: want at least 15", files)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".golden.yaml"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			// In a namespace where none of them is, and with the protection off: what is generated is
			// reserved to the controller.
			manifests := strings.ReplaceAll(string(content), "namespace: project\n", "namespace: "+w.namespace+"\n")
			applied, err := installed.KubectlWith(t.Context(), manifests, "apply", "--namespace", w.namespace, "--server-side",
				"--dry-run=server", "--validate=strict", "--filename=-")
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Count(applied, " serverside-applied (server dry run)"); got < 4 {
				t.Errorf("%d objects, want at least 4:\n%s", got, applied)
			}
		})
	}
}

func getOptions() metav1.GetOptions { return metav1.GetOptions{} }

func key(w *world, name string) client.ObjectKey {
	return client.ObjectKey{Namespace: w.namespace, Name: name}
}
