package chart

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	offline "mtls.egress/webhook/internal/manifests"
)

// testRenderedEgressTargets holds the manifests on which render, which asks no API server, could
// decide otherwise than one: whole ones, wrong in metadata, types and nulls. The rows of
// testEgressTargets are compared as well.
func testRenderedEgressTargets(t *testing.T, c cluster) {
	tests := map[string]struct {
		manifest string
		refused  bool
	}{
		"no spec":        {manifest: `{metadata: {name: a.example}}`},
		"a spec of null": {manifest: `{metadata: {name: a.example}, spec: null}`},
		"nulls, which are defaults": {
			manifest: `{metadata: {name: a.example}, spec: {port: null, appPort: null, credential: null, sni: null, ` +
				`http: {version: null, retries: null}}}`,
		},
		"a status, which is dropped": {manifest: `{metadata: {name: a.example}, status: {pods: 3}}`},
		"a wrong status, which is dropped": {
			manifest: `{metadata: {name: a.example}, status: {pods: many, conditions: [{type: Ready}]}}`,
		},
		"a port with a fraction of 0": {manifest: `{metadata: {name: a.example}, spec: {port: 8443.0}}`},
		"labels and annotations": {
			manifest: `{metadata: {name: a.example, labels: {team: a}, annotations: {note: "1"}}}`,
		},
		"what an exported manifest brings": {
			manifest: `{metadata: {name: a.example, uid: "1", generation: -1, creationTimestamp: null, managedFields: ` +
				`[{manager: kubectl, operation: Update, apiVersion: mtls.egress/v1alpha1, time: "2024-01-01T00:00:00Z", ` +
				`fieldsType: FieldsV1, fieldsV1: {"f:spec": {}}}]}}`,
		},

		"no name":     {refused: true, manifest: `{metadata: {}}`},
		"no metadata": {refused: true, manifest: `{spec: {}}`},
		"an invalid label": {
			refused:  true,
			manifest: `{metadata: {name: a.example, labels: {"a b": "c d"}}}`,
		},
		"a label of null with a bad name": {
			refused:  true,
			manifest: `{metadata: {name: a.example, labels: {"a b": null}}}`,
		},
		"a label as number": {
			refused:  true,
			manifest: `{metadata: {name: a.example, labels: {team: 1}}}`,
		},
		"a UID as number": {refused: true, manifest: `{metadata: {name: a.example, uid: 1}}`},
		"labels as list": {
			refused:  true,
			manifest: `{metadata: {name: a.example, labels: [team]}}`,
		},
		"an owner without UID": {
			refused:  true,
			manifest: `{metadata: {name: a.example, ownerReferences: [{apiVersion: v1, kind: Pod, name: a, uid: ""}]}}`,
		},
		"an unknown field of metadata": {
			refused:  true,
			manifest: `{metadata: {name: a.example, namspace: project}}`,
		},
		"an unknown field at the top": {
			refused:  true,
			manifest: `{metadata: {name: a.example}, specs: {}}`,
		},
		"unknown fields everywhere": {
			refused:  true,
			manifest: `{metadata: {name: a.example, lables: {}}, spec: {ports: 1, http: {retry: 1}}, status: {pod: 1}}`,
		},
		"a required field misspelled": {
			refused:  true,
			manifest: `{metadata: {name: a.example}, spec: {credential: {keys: {certificate: a, privatekey: b}}}}`,
		},
		"a misspelled field beside others that are wrong": {
			refused:  true,
			manifest: `{metadata: {name: localhost}, spec: {prot: 1, port: 80, sni: "*.a.example"}}`,
		},
		"a spec as text": {
			refused:  true,
			manifest: `{metadata: {name: a.example}, spec: text}`,
		},
		"a spec as list": {refused: true, manifest: `{metadata: {name: a.example}, spec: []}`},
		"a credential as text": {
			refused:  true,
			manifest: `{metadata: {name: a.example}, spec: {credential: partner}}`,
		},
		"a port with a fraction": {
			refused:  true,
			manifest: `{metadata: {name: a.example}, spec: {port: 443.5}}`,
		},
		"a port beyond 32 bits": {
			refused:  true,
			manifest: `{metadata: {name: a.example}, spec: {port: 10000000000}}`,
		},
		"a port beyond 64 bits": {
			refused:  true,
			manifest: `{metadata: {name: a.example}, spec: {port: 1e30}}`,
		},
		"null among the names": {
			refused:  true,
			manifest: `{metadata: {name: a.example}, spec: {subjectAltNames: [a, null]}}`,
		},
		"null for a required field": {
			refused:  true,
			manifest: `{metadata: {name: a.example}, spec: {serverCA: {configMap: {name: null, key: a}}}}`,
		},
		"null as the only CA": {
			refused:  true,
			manifest: `{metadata: {name: a.example}, spec: {serverCA: {system: null}}}`,
		},
		"a name twice, and another": {
			refused:  true,
			manifest: `{metadata: {name: a.example}, spec: {subjectAltNames: [a, b, a, b, a]}}`,
		},
		"a name that is no path segment": {refused: true, manifest: `{metadata: {name: "a/b.example"}}`},
		"a name of 254 characters": {
			refused:  true,
			manifest: `{metadata: {name: ` + strings.Repeat("a.", 127) + `}}`,
		},
		"a wildcard": {refused: true, manifest: `{metadata: {name: "*.example"}}`},
		"two rules of one field at a time": {
			refused:  true,
			manifest: `{metadata: {name: "1.1"}, spec: {port: 443, appPort: 443}}`,
		},
	}
	ofOurMinor := c.ofOurMinor(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			object := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(test.manifest), &object.Object); err != nil {
				t.Fatal(err)
			}
			object.SetAPIVersion("mtls.egress/v1alpha1")
			object.SetKind("EgressTarget")
			if said := compareWithRender(t, c, object, ofOurMinor); test.refused != (len(said) > 0) {
				t.Errorf("refused %v: %q", test.refused, said)
			}
		})
	}
}

// compareWithRender fails where render does not say what the API server says of an EgressTarget,
// and returns that. The API server stops at fields that it can't read; what it says without them
// comes with it. An API server of another minor version than render's libraries must refuse the
// same objects, in whatever words.
func compareWithRender(t *testing.T, c cluster, object *unstructured.Unstructured, ofOurMinor bool) []string {
	t.Helper()
	said := refusal(t, c, object, "Strict")
	if slices.ContainsFunc(
		said, func(problem string) bool { return strings.HasPrefix(problem, "strict decoding error: ") },
	) {
		said = append(said, refusal(t, c, object, "Ignore")...)
	}
	_, problems := offline.Render(
		[]offline.Document{{Source: "input.yaml", Number: 1, Object: object.Object}},
		offline.Options{Namespace: "default", Now: time.Unix(0, 0)},
	)
	var rendered []string
	for _, problem := range problems {
		rendered = append(rendered, problem.Message)
	}
	slices.Sort(said)
	slices.Sort(rendered)
	if !ofOurMinor {
		if (len(said) == 0) != (len(rendered) == 0) {
			t.Errorf("the API server says %q, and render %q", said, rendered)
		}
		return said
	}
	if diff := cmp.Diff(said, rendered); diff != "" {
		t.Errorf("render does not say what the API server says (-API server +render):\n%s", diff)
	}
	return said
}

// refusal is what the API server says of an object. Left out is what render doesn't say: that the
// field of a problem with the whole object is <nil>, and, before what could not be decoded, the
// kind, which replaces a problem.
func refusal(
	t *testing.T,
	c cluster,
	object *unstructured.Unstructured,
	fieldValidation client.FieldValidation,
) []string {
	t.Helper()
	sent := object.DeepCopy()
	sent.SetNamespace("default")
	said := causes(t, c.Create(t.Context(), sent, client.DryRunAll, fieldValidation))
	for n := range said {
		said[n] = strings.TrimPrefix(said[n], "<nil>: ")
		said[n] = strings.TrimPrefix(said[n], `EgressTarget in version "v1alpha1" cannot be handled as a EgressTarget: `)
	}
	return said
}
