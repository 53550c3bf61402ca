package mutate_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"gomodules.xyz/jsonpatch/v2"
	jsonpatchv4 "gopkg.in/evanphx/json-patch.v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/interception"
	"mtls.egress/webhook/internal/mutate"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/internal/workload"
	"mtls.egress/webhook/test/golden"
)

const corpus = "../../test/testdata/admission"

// corpusCase is one input of the corpus: the object, the object before an update, the EgressTargets
// of the namespace and the hosts that it may reach.
type corpusCase struct {
	object        []byte
	egressTargets map[string]*v1alpha1.EgressTarget
	previous      *mutate.Previous
	rules         policy.Rules
	// namespaceLabels are nil if the case has no Namespace.
	namespaceLabels map[string]string
	// injector and requireInjection come from a document of the kind Injector.
	injector         interception.Injector
	requireInjection bool
}

// outcome is the content of a golden file.
type outcome struct {
	Warnings   []string              `json:"warnings,omitempty"`
	Errors     []string              `json:"errors,omitempty"`
	Operations []jsonpatch.Operation `json:"operations,omitempty"`
	Object     map[string]any        `json:"object,omitempty"`
	Pods       map[string]any        `json:"pods,omitempty"`
	// AllPods are the Pods of a workload with several Pod templates.
	AllPods []map[string]any `json:"allPods,omitempty"`
}

func TestCorpus(t *testing.T) {
	inputs := golden.Inputs(t, corpus)
	for _, name := range golden.Names(inputs) {
		t.Run(name, func(t *testing.T) {
			input := readCase(t, name, inputs[name])
			result := input.mutate(t)
			if len(result.Errors) > 0 && (len(result.Operations) > 0 || len(result.Pods) > 0) {
				t.Error("got errors and operations")
			}
			got, err := yaml.Marshal(describe(t, input, result))
			if err != nil {
				t.Fatal(err)
			}
			golden.Compare(t, golden.File(inputs[name]), got)
		})
	}
}

func TestLawsOverTheCorpus(t *testing.T) {
	inputs := golden.Inputs(t, corpus)
	for _, name := range golden.Names(inputs) {
		t.Run(name, func(t *testing.T) {
			checkLaws(t, readCase(t, name, inputs[name]))
		})
	}
}

func describe(t *testing.T, input corpusCase, result mutate.Result) outcome {
	t.Helper()
	described := outcome{Warnings: mutate.Texts(result.Warnings), Operations: result.Operations}
	for _, problem := range result.Errors {
		described.Errors = append(described.Errors, problem.Error())
	}
	if len(result.Operations) > 0 {
		described.Object = decode(t, apply(t, input.object, result.Operations))
	}
	patched := decode(t, apply(t, input.object, result.Operations))
	var pods []map[string]any
	for _, pod := range result.Pods {
		if len(pod.Operations) > 0 {
			pods = append(pods, decode(t, apply(t, encode(t, at(t, patched, pod.Template)), pod.Operations)))
		}
	}
	if len(pods) > 1 {
		described.AllPods = pods
	} else if len(pods) == 1 {
		described.Pods = pods[0]
	}
	return described
}

func readCase(t testing.TB, name, path string) corpusCase {
	t.Helper()
	input := corpusCase{egressTargets: map[string]*v1alpha1.EgressTarget{}, rules: everyHost}
	if strings.HasSuffix(name, "-update") {
		input.previous = &mutate.Previous{}
	}
	for _, document := range golden.Documents(t, path) {
		// The relevant part of the object before an update.
		if kindOf(t, document).Kind == "Previous" {
			if err := json.Unmarshal(document, input.previous); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if kindOf(t, document).Kind == "Injector" {
			input.readInjector(t, document)
			continue
		}
		if kindOf(t, document).Kind == "Namespace" {
			namespace := &metav1.PartialObjectMetadata{}
			if err := json.Unmarshal(document, namespace); err != nil {
				t.Fatal(err)
			}
			input.rules.Namespace = policy.ReadNamespace(namespace.Annotations)
			input.namespaceLabels = namespace.Labels
			continue
		}
		if kindOf(t, document).Kind != v1alpha1.Kind {
			input.object = document
			continue
		}
		egressTarget := &v1alpha1.EgressTarget{}
		if err := json.Unmarshal(document, egressTarget); err != nil {
			t.Fatal(err)
		}
		input.egressTargets[egressTarget.Name] = egressTarget
	}
	return input
}

// readInjector reads the configuration of Istio's injector: the two texts of the ConfigMap, and
// whether the webhook requires an injection.
func (c *corpusCase) readInjector(t testing.TB, document []byte) {
	t.Helper()
	var injector struct {
		Config  string         `json:"config"`
		Values  map[string]any `json:"values"`
		Require bool           `json:"require"`
	}
	if err := json.Unmarshal(document, &injector); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.injector, err = interception.ReadInjector(injector.Config, string(encode(t, injector.Values))); err != nil {
		t.Fatal(err)
	}
	c.requireInjection = injector.Require
}

func (c corpusCase) mutate(t testing.TB) mutate.Result {
	t.Helper()
	subject, err := decodeSubject(t, c.object)
	if err != nil {
		t.Fatal(err)
	}
	return subject.Mutate(mutate.Facts{
		Namespace: "project", Previous: c.previous, EgressTargets: c.egressTargets, Rules: c.rules,
		NamespaceLabels: c.namespaceLabels, Injector: c.injector, RequireInjection: c.requireInjection,
	})
}

func decodeSubject(t testing.TB, object []byte) (*mutate.Object, error) {
	t.Helper()
	return mutate.Decode(workload.Known().ByKind(), kindOf(t, object).GroupVersionKind().GroupKind(), object)
}

func kindOf(t testing.TB, object []byte) *metav1.TypeMeta {
	t.Helper()
	var kind metav1.TypeMeta
	if err := json.Unmarshal(object, &kind); err != nil {
		t.Fatal(err)
	}
	return &kind
}

// apply patches object with the API server's own patch library.
func apply(t testing.TB, object []byte, operations []jsonpatch.Operation) []byte {
	t.Helper()
	if len(operations) == 0 {
		return object
	}
	patch, err := jsonpatchv4.DecodePatch(encode(t, operations))
	if err != nil {
		t.Fatal(err)
	}
	patched, err := patch.Apply(object)
	if err != nil {
		t.Fatalf("the patch does not apply: %v\n%s", err, encode(t, operations))
	}
	return patched
}

// at returns the object at a JSON pointer.
func at(t testing.TB, object map[string]any, pointer string) map[string]any {
	t.Helper()
	var value any = object
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		switch parent := value.(type) {
		case map[string]any:
			value = parent[token]
		case []any:
			n, err := strconv.Atoi(token)
			if err != nil {
				t.Fatal(err)
			}
			value = parent[n]
		}
	}
	found, ok := value.(map[string]any)
	if !ok {
		t.Fatalf("there is no object at %s", pointer)
	}
	return found
}

func encode(t testing.TB, value any) []byte {
	t.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func decode(t testing.TB, encoded []byte) map[string]any {
	t.Helper()
	var decoded map[string]any
	if err := json.Unmarshal(encoded, &decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}

// everyHost is the chart's default policy, in a namespace without the annotation.
var everyHost = policy.Rules{Cluster: policy.Cluster{Other: policy.OtherAllow}}
