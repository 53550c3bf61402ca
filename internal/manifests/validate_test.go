package manifests_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/manifests"
)

// test/chart compares these messages with those of an API server.
func TestEgressTargetsAreJudgedByTheCRD(t *testing.T) {
	const incomplete = "Invalid value: null: some validation rules were not checked because the object was invalid; " +
		"correct the existing errors to complete validation"
	tests := map[string]struct {
		apiVersion string // default: mtls.egress/v1alpha1
		metadata   map[string]any
		spec       any
		want       []string
	}{
		"nothing set": {
			metadata: map[string]any{"name": "external.system.com"},
		},
		"what Go decodes as float": {
			metadata: map[string]any{"name": "external.system.com"},
			spec:     map[string]any{"port": 8443.0},
		},
		"no host": {
			metadata: map[string]any{"name": "localhost"},
			want: []string{
				"Invalid value: the name of an EgressTarget must be the host of the target: at least two labels of " +
					"lowercase letters, digits and inner hyphens, each of at most 63 characters, for " +
					"example external.system.com",
			},
		},
		"several mistakes are told together, in order": {
			metadata: map[string]any{"name": "external.system.com"},
			spec: map[string]any{
				"prot":            int64(1),
				"port":            int64(0),
				"subjectAltNames": []any{"a", "a"},
				"http":            map[string]any{"timeout": "1d"},
			},
			want: []string{
				`spec.http.timeout: Invalid value: "1d": timeout must be at least 1ms, in h, m, ` +
					`s and ms, for example 30s`,
				"spec.port: Invalid value: 0: spec.port in body should be greater than or equal to 1",
				`spec.subjectAltNames[1]: Duplicate value: "a"`,
				`strict decoding error: unknown field "spec.prot"`,
			},
		},
		"what keeps rules from being checked": {
			metadata: map[string]any{"name": "external.system.com"},
			spec:     map[string]any{"port": "443", "appPort": int64(443)},
			want: []string{
				incomplete,
				`spec.port: Invalid value: "string": spec.port in body must be of type integer: "string"`,
			},
		},
		"metadata that can't be read": {
			metadata: map[string]any{"name": "external.system.com", "labels": []any{}},
			want: []string{
				"json: cannot unmarshal array into Go struct field ObjectMeta.labels of type map[string]string",
			},
		},
		"a name that the cluster would make up": {
			metadata: map[string]any{"generateName": "external.system.com-"},
			want: []string{
				`metadata.generateName: Invalid value: "external.system.com-": the name of an EgressTarget is its ` +
					`host, and only a cluster generates names: set metadata.name to the host`,
			},
		},
		"an unknown version": {
			apiVersion: "mtls.egress/v1",
			metadata:   map[string]any{"name": "external.system.com"},
			want:       []string{`apiVersion: Invalid value: "mtls.egress/v1": must be mtls.egress/v1alpha1`},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			object := map[string]any{
				"apiVersion": "mtls.egress/v1alpha1",
				"kind":       "EgressTarget",
				"metadata":   test.metadata,
			}
			if test.apiVersion != "" {
				object["apiVersion"] = test.apiVersion
			}
			if test.spec != nil {
				object["spec"] = test.spec
			}
			_, problems := manifests.Render(number([]map[string]any{object}),
				manifests.Options{Policy: everyHost(), Now: now()})
			var got []string
			for _, problem := range problems {
				got = append(got, problem.Message)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// In a cluster, an EgressTarget has the defaults of the CRD before any workload uses it.
func TestAnEgressTargetWithoutPortSaysTheDefaultPort(t *testing.T) {
	object := map[string]any{
		"apiVersion": "mtls.egress/v1alpha1",
		"kind":       "EgressTarget",
		"metadata":   map[string]any{"name": "external.system.com"},
	}
	_, problems := manifests.Render(number([]map[string]any{object, pod("probe", "external.system.com:8443")}),
		manifests.Options{Policy: everyHost(), Now: now()})
	want := []manifests.Problem{
		{
			Location: manifests.Location{Source: "input.yaml", Number: 2, Line: 1, Kind: "Pod", Name: "probe"},
			Reason:   "target-clash",
			Path:     []any{"metadata", "annotations", "mtls.egress/target"},
			Field:    "metadata.annotations[mtls.egress/target]",
			Message: `metadata.annotations[mtls.egress/target]: Invalid value: "external.system.com:8443": the ` +
				`EgressTarget external.system.com sets port 443; ` +
				"write external.system.com:443 or external.system.com alone, or change spec.port of the " +
				"EgressTarget, which affects every workload in the namespace that calls the host",
		},
	}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
