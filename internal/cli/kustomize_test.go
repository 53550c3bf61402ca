package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A finding names the file that the user edits, wherever kustomize took the object.
func TestFindingsOfAKustomizationAreAtTheirOrigin(t *testing.T) {
	dir := t.TempDir()
	base, overlay := filepath.Join(dir, "base"), filepath.Join(dir, "overlay")
	for _, folder := range []string{base, overlay} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for path, content := range map[string]string{
		filepath.Join(base, "kustomization.yaml"): "resources: [all.yaml]\n",
		filepath.Join(base, "all.yaml"): `apiVersion: v1
kind: Service
metadata:
  name: orders
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata:
    name: orders
    annotations:
      mtls.egress/target: localhost
  spec:
    containers:
    - name: app
      securityContext: {privileged: true}
`,
		filepath.Join(overlay, "kustomization.yaml"): `resources: [../base]
namePrefix: blue-
namespace: project
patches:
- target: {kind: Service}
  patch: |
    - op: add
      path: /metadata/labels
      value: {mtls.egress/target: external.system.com}
secretGenerator:
- name: partner
  options: {annotations: {mtls.egress/host: external.system.com}}
  literals: [note=none]
`,
	} {
		write(t, path, content)
	}
	stdout, stderr, code := executeCheck("", "-k", overlay)
	var places []string
	for line := range strings.Lines(stdout) {
		if place, _, found := strings.Cut(line, ": error "); found {
			places = append(places, strings.TrimPrefix(place, dir+"/"))
		}
	}
	want := []string{"base/all.yaml:4:3", "base/all.yaml:14:7", "overlay/kustomization.yaml:1:1"}
	if diff := cmp.Diff(want, places); diff != "" || code != 1 {
		t.Errorf("exit code %d, places (-want +got):\n%s\n%s%s", code, diff, stdout, stderr)
	}
	_, stderr, _ = executeRender("", "-k", base)
	if !strings.HasPrefix(stderr, filepath.Join(base, "all.yaml")+", document 2, line 6, Pod orders: ") {
		t.Errorf("standard error %q", stderr)
	}
	write(t, filepath.Join(base, "all.yaml"), plainService)
	if rendered, stderr, _ := executeRender("", "-k", base); rendered != plainService {
		t.Errorf("the output of kustomize changed: %q %q", rendered, stderr)
	}
	write(t, filepath.Join(base, "kustomization.yaml"), "resources: [all.yaml]\nbuildMetadata: [originAnnotations]\n")
	if rendered, _, _ := executeRender("", "-k", base); !strings.Contains(rendered, originAnnotation) {
		t.Errorf("the origin that the kustomization asks for is missing:\n%s", rendered)
	}
}
