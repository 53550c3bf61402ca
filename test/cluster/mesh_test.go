package cluster

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestEveryMeshIsSelectedByItsName(t *testing.T) {
	t.Setenv("KUBECONFIG", "")
	t.Setenv(meshVariable, "")
	if mesh, err := SelectedMesh(); err != nil || mesh.Name != "" || mesh.chartValues() != "" {
		t.Errorf("without a name: %+v, error %v", mesh, err)
	}
	for _, mesh := range Meshes() {
		t.Setenv(meshVariable, mesh.Name)
		selected, err := SelectedMesh()
		if err != nil || selected.Name != mesh.Name || mesh.Name == "" {
			t.Errorf("%q selects %q, error %v", mesh.Name, selected.Name, err)
		}
		if mesh.Description == "" || strings.ContainsAny(mesh.Description, "|\n") {
			t.Errorf("%s: the description %q can't stand in a table", mesh.Name, mesh.Description)
		}
		var values map[string]any
		if err := yaml.UnmarshalStrict([]byte(mesh.chartValues()), &values); err != nil {
			t.Errorf("%s: values of the chart: %v", mesh.Name, err)
		}
		if len(values) == 0 && mesh.Node == "" {
			t.Errorf("%s doesn't differ from the default mesh", mesh.Name)
		}
	}
}

func TestASelectedMeshIsRefused(t *testing.T) {
	for sentence, test := range map[string]struct{ mesh, kubeconfig, want string }{
		"that does not exist": {
			mesh: "nftable",
			want: `MTLS_EGRESS_MESH is "nftable"; unset it, or set it to one of compatibility-1.25, ` +
				"dns-capture, dynamic-dns, istio-1.30, istio-cni, nftables, plain-sidecars, registry-only, revisions",
		},
		"with a cluster in KUBECONFIG": {
			mesh: "nftables", kubeconfig: "/kubeconfig", want: "KUBECONFIG gives them another cluster; unset one of them",
		},
	} {
		t.Setenv(meshVariable, test.mesh)
		t.Setenv("KUBECONFIG", test.kubeconfig)
		if _, err := SelectedMesh(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("a mesh %s: error %v, want %q", sentence, err, test.want)
		}
	}
}

func TestAMeshIsNotPlayedOnTheNodeOfAnother(t *testing.T) {
	t.Setenv("KUBECONFIG", "")
	directory := t.TempDir()
	t.Setenv(assetsVariable, directory)
	for _, mesh := range Meshes() {
		t.Setenv(meshVariable, mesh.Name)
		_, err := Assets(t.Context())
		if (err != nil) != (mesh.Node != "") || err != nil && !strings.Contains(err.Error(), "run . node "+mesh.Node+"`") {
			t.Errorf("%s on the default node: error %v", mesh.Name, err)
		}
		if mesh.Node == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(directory, "kind-"+mesh.Node), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Assets(t.Context()); err != nil || got != directory {
			t.Errorf("%s on its node: %q, error %v", mesh.Name, got, err)
		}
	}
}

func TestNamespacesAreOfBothRevisionsByTurns(t *testing.T) {
	enabled, rev := map[string]string{"istio-injection": "enabled"}, "istio.io/rev"
	for _, test := range []struct {
		mesh   Mesh
		number int
		want   map[string]string
	}{
		{Mesh{}, 0, enabled},
		{Mesh{}, 1, enabled},
		{Mesh{Revisions: []string{"stable", "canary"}}, 4, map[string]string{rev: "stable"}},
		{Mesh{Revisions: []string{"stable", "canary"}}, 5, map[string]string{rev: "canary"}},
	} {
		if got := test.mesh.InjectionLabels(test.number); !maps.Equal(got, test.want) {
			t.Errorf("revisions %v, namespace %d: %v, want %v", test.mesh.Revisions, test.number, got, test.want)
		}
	}
}
