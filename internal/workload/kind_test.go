package workload_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/workload"
)

// TestTheChartHasTheKnownKinds compares the default of the chart's value with the table in the
// code.
func TestTheChartHasTheKnownKinds(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "charts", "mtls-egress-webhook", "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var values struct {
		Workloads map[string]any `json:"workloads"`
	}
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	encoded, err := yaml.Marshal(values.Workloads)
	if err != nil {
		t.Fatal(err)
	}
	got, err := workload.Parse(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(workload.Known(), got); diff != "" {
		t.Errorf("values.yaml (-code +chart):\n%s", diff)
	}
}

func TestParseNamesEachProblem(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"not a map": {`[]`, "is not a map of RESOURCE.GROUP"},
		"an unknown field": {
			`widgets.example.com: {kind: Widget, template: spec}`, `unknown field "template"`,
		},
		"no place": {
			`widgets.example.com: {kind: Widget}`,
			"[widgets.example.com].templates: Required value: has neither templates nor annotations; write the path of " +
				"the Pod template, as in spec.template",
		},
		"a JSON path": {
			`widgets.example.com: {kind: Widget, templates: [".spec.template"]}`,
			`[widgets.example.com].templates[0]: Invalid value: ".spec.template": is not a path of fields, as in ` +
				`spec.template or spec.tasks[*].template`,
		},
		"two lists": {
			`widgets.example.com: {kind: Widget, templates: ["spec.a[*].b[*].template"]}`, "is not a path of fields",
		},
		"a list itself": {
			`widgets.example.com: {kind: Widget, templates: ["spec.templates[*]"]}`, "is not a path of fields",
		},
		"a list of annotations": {
			`widgets.example.com: {kind: Widget, annotations: ["spec.a[*].annotations"]}`, "without lists",
		},
		"Pods":     {`pods: {kind: Pod, templates: [spec]}`, "Pods are not workloads"},
		"no group": {`Widgets.example.com: {kind: Widget, templates: [spec.template]}`, "is not RESOURCE.GROUP"},
		"a kind that is not a name": {
			`widgets.example.com: {kind: my-widget, templates: [spec.template]}`, "is not the name of a kind",
		},
		"a kind twice": {
			"a.example.com: {kind: Widget, templates: [spec.template]}\n" +
				"b.example.com: {kind: Widget, templates: [spec.template]}",
			"is also the kind of a.example.com; keep one of the two",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := workload.Parse([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestFind(t *testing.T) {
	const object = `{"spec":{"template":{"a":1},"none":null,` +
		`"tasks":[{"template":{"b":2}},{"template":null},{},7],"text":"x"}}`
	type place struct {
		Pointer, Path, JSON string
		Missing             []string
	}
	tests := map[workload.Path][]place{
		"spec.template": {{"/spec/template", "spec.template", `{"a":1}`, nil}},
		"spec.missing":  {{"/spec/missing", "spec.missing", "", nil}},
		"spec.none":     {{"/spec/none", "spec.none", "", nil}},
		"spec.none.metadata.annotations": {{
			"/spec/none/metadata/annotations", "spec.none.metadata.annotations", "",
			[]string{"/spec/none", "/spec/none/metadata"},
		}},
		"spec.text.annotations":    {{"/spec/text/annotations", "spec.text.annotations", "", []string{"/spec/text"}}},
		"spec.text[*].template":    nil,
		"spec.missing[*].template": nil,
		"other.annotations":        {{"/other/annotations", "other.annotations", "", []string{"/other"}}},
		"spec.tasks[*].template": {
			{"/spec/tasks/0/template", "spec.tasks[0].template", `{"b":2}`, nil},
			{"/spec/tasks/1/template", "spec.tasks[1].template", "", nil},
			{"/spec/tasks/2/template", "spec.tasks[2].template", "", nil},
			{"/spec/tasks/3/template", "spec.tasks[3].template", "", []string{"/spec/tasks/3"}},
		},
	}
	for path, want := range tests {
		t.Run(string(path), func(t *testing.T) {
			var got []place
			for _, found := range path.Find([]byte(object)) {
				got = append(got, place{found.Pointer, found.Path.String(), string(found.JSON), found.Missing})
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
