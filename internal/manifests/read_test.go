package manifests_test

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/test/encodings"
	"mtls.egress/webhook/test/golden"
)

func TestRead(t *testing.T) {
	const service = "apiVersion: v1\nkind: Service\nmetadata: {name: shop}\n"
	tests := map[string]struct {
		content string
		// documents are the lines of the documents with their kinds.
		documents []string
		problems  []string
	}{
		"nothing":        {"", nil, nil},
		"only a comment": {"# nothing\n---\n\n---\n# here\n", nil, nil},
		"one document":   {service, []string{"1 Service"}, nil},
		"several documents": {
			"# a chart\n---\n" + service + "---\n\n# Source: b.yaml\n" + service,
			[]string{"3 Service", "9 Service"}, nil,
		},
		"a comment behind the separator": {
			"--- # Source: a.yaml\n" + service, []string{"2 Service"}, nil,
		},
		"Windows line ends": {
			strings.ReplaceAll(service+"---\n"+service, "\n", "\r\n"), []string{"1 Service", "5 Service"}, nil,
		},
		"a separator without a line end": {service + "---", []string{"1 Service"}, nil},
		"three hyphens in a text": {
			"apiVersion: v1\nkind: ConfigMap\ndata:\n  a: |\n    ---\n    b\n", []string{"1 ConfigMap"}, nil,
		},
		"JSON documents in a row": {
			"{\"kind\": \"A\"}\n{\"kind\": \"B\"} {\"kind\": \"C\"}\n", []string{"1 A", "2 B", "2 C"}, nil,
		},
		"JSON in a YAML stream": {service + "---\n{\n \"kind\": \"A\"\n}\n", []string{"1 Service", "5 A"}, nil},
		"a mapping in braces":   {"{kind: A, metadata: {name: b}}\n", []string{"1 A"}, nil},
		"YAML with a mistake": {
			service + "---\nkind: A\nb: [1\nc: 2\n---\n" + service, []string{"1 Service", "9 Service"},
			[]string{"a.yaml, document 2, line 6: is not valid YAML: did not find expected ',' or ']'"},
		},
		"a tab": {
			"kind: A\nb:\n\tc: d\n", nil,
			[]string{"a.yaml, document 1, line 3: is not valid YAML: found character that cannot start any token"},
		},
		"JSON with a mistake": {
			"{\n \"kind\": \"A\",\n \"b\" 2\n}\n", nil,
			[]string{"a.yaml, document 1, line 3: is not valid JSON: invalid character '2' after object key"},
		},
		"a list": {"- a\n- b\n", nil, []string{
			"a.yaml, document 1, line 1: is a list, but a manifest is an object with apiVersion, kind and metadata",
		}},
		"text": {service + "---\nhello\n", []string{"1 Service"}, []string{
			"a.yaml, document 2, line 5: is text, but a manifest is an object with apiVersion, kind and metadata",
		}},
		"no kind": {"apiVersion: v1\nmetadata: {name: a}\n", nil, []string{
			"a.yaml, document 1, line 1, a: has no kind, so it is not a manifest",
		}},
		"an annotation that is a number": {
			service + "---\nkind: Service\nmetadata:\n  name: a\n  annotations:\n    example.com/b: 1\n    c: d\n",
			[]string{"1 Service"},
			[]string{"a.yaml, document 2, line 9, Service a: metadata.annotations[example.com/b]: is a number, want text: " +
				"write it in quotes"},
		},
		"all mistakes at once": {
			"kind: A\nmetadata:\n  name: 1\n  namespace: true\n  labels: x\n  annotations: {a: null, b: [c]}\n" +
				"---\nkind: B\nmetadata: x\n",
			nil,
			[]string{
				"a.yaml, document 1, line 3, A: metadata.name: is a number, want text: write it in quotes",
				"a.yaml, document 1, line 4, A: metadata.namespace: is true or false, want text: write it in quotes",
				"a.yaml, document 1, line 6, A: metadata.annotations.b: is a list, want text: write it in quotes",
				"a.yaml, document 1, line 5, A: metadata.labels: is text, want a mapping",
				"a.yaml, document 2, line 9, B: metadata: is text, want a mapping",
			},
		},
		"an element of a list": {
			"kind: List\nitems:\n- kind: A\n- kind: B\n  metadata: {labels: {a: 1}}\n- null\n- c\n", nil,
			[]string{
				"a.yaml, document 1, line 5, List: items[1].metadata.labels.a: is a number, want text: write it in quotes",
				"a.yaml, document 1, line 7, List: items[3]: is text, want an object",
			},
		},
		"a Secret whose value is no text": {
			"kind: Secret\nmetadata: {name: a}\ndata: [hunter2\n", nil,
			[]string{"a.yaml, document 1, line 3: is not valid YAML: did not find expected ',' or ']'"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			documents, problems := manifests.Read("a.yaml", []byte(test.content))
			var read, said []string
			for n, document := range documents {
				kind, _ := document.Object["kind"].(string)
				read = append(read, fmt.Sprintf("%d %s", document.Line, kind))
				if n > 0 && document.Number <= documents[n-1].Number {
					t.Errorf("document %d has the number %d", n, document.Number)
				}
			}
			for _, problem := range problems {
				said = append(said, problem.String())
			}
			if diff := cmp.Diff(test.documents, read, cmpopts.IgnoreUnexported(manifests.Document{})); diff != "" {
				t.Errorf("documents (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.problems, said); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzRead checks that each problem and document is at a line of the input, and that what can be
// read is the same after it was written.
func FuzzRead(f *testing.F) {
	for _, path := range golden.Inputs(f, corpus) {
		content, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		documents, problems := manifests.Read("input.yaml", content)
		lines := strings.Count(string(content), "\n") + 1
		for _, problem := range problems {
			if line := problem.Location.Line; line < 1 || line > lines {
				t.Errorf("line %d of %d: %s", line, lines, problem)
			}
		}
		for _, document := range documents {
			if document.Line < 1 || document.Line > lines {
				t.Errorf("a document at line %d of %d", document.Line, lines)
			}
			stream, err := manifests.YAML([]map[string]any{document.Object})
			if err != nil {
				t.Fatal(err)
			}
			again, problems := manifests.Read("input.yaml", stream)
			if len(problems) > 0 || len(again) != 1 || !reflect.DeepEqual(document.Object, again[0].Object) {
				t.Errorf("%q was written as %q, and read as %v %v", document.Object, stream, again, problems)
			}
		}
	})
}

// TestManifestsAreReadInEveryEncoding checks the objects and their lines.
func TestManifestsAreReadInEveryEncoding(t *testing.T) {
	const stream = "# Grüße\nkind: A\n---\nkind: B\n---\n{\"kind\": \"C\"}\n"
	want, problems := manifests.Read("a.yaml", []byte(stream))
	if len(problems) > 0 || len(want) != 3 {
		t.Fatalf("%d documents, %+v", len(want), problems)
	}
	for encoding, content := range encodings.Of(stream) {
		t.Run(encoding, func(t *testing.T) {
			documents, problems := manifests.Read("a.yaml", content)
			diff := cmp.Diff(want, documents, cmpopts.IgnoreUnexported(manifests.Document{}))
			if diff != "" || len(problems) > 0 {
				t.Errorf("%+v, documents (-want +got):\n%s", problems, diff)
			}
		})
	}
	_, problems = manifests.Read("a.yaml", []byte("\xff\xfe\x00\x00k\x00\x00\x00"))
	refused := []manifests.Problem{{
		Location: manifests.Location{Source: "a.yaml", Number: 1, Line: 1}, Message: "is UTF-32: save it as UTF-8",
	}}
	if diff := cmp.Diff(refused, problems, cmpopts.IgnoreUnexported(manifests.Document{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
