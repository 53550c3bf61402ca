package admission_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mtls.egress/webhook/internal/workload"
	"mtls.egress/webhook/test/golden"
)

// nearMiss is something that is almost the annotation mtls.egress/target.
type nearMiss struct {
	name string
	// change adds it to an object, or to its Pod templates.
	change func(object map[string]any, templates []map[string]any)
}

func nearMisses() []nearMiss {
	annotated := func(key string) func(map[string]any, []map[string]any) {
		return func(object map[string]any, _ []map[string]any) { set(object, "annotations", key) }
	}
	inTemplates := func(field, key string) func(map[string]any, []map[string]any) {
		return func(_ map[string]any, templates []map[string]any) {
			for _, template := range templates {
				set(template, field, key)
			}
		}
	}
	misses := []nearMiss{
		{"nothing", func(map[string]any, []map[string]any) {}},
		{"the annotation mtls.egress/target", annotated("mtls.egress/target")},
		{"the label mtls.egress/target", func(object map[string]any, _ []map[string]any) {
			set(object, "labels", "mtls.egress/target")
		}},
		{"the label mtls.egress/target in the Pod template", inTemplates("labels", "mtls.egress/target")},
		{"the annotation mtls-egress/target in the Pod template", inTemplates("annotations", "mtls-egress/target")},
	}
	for _, key := range []string{
		"mtls-egress/target", "mtls.egress.io/target", "egress.mtls/target", "mtls.egress/targets", "mtls.egess/target",
	} {
		misses = append(misses, nearMiss{"the annotation " + key, annotated(key)})
	}
	return append(misses,
		nearMiss{"the annotation of another project", annotated("example.com/target")},
		nearMiss{"the label mtls-egress/target", func(object map[string]any, _ []map[string]any) {
			set(object, "labels", "mtls-egress/target")
		}})
}

// set sets a key of the annotations or labels of an object or Pod template to host.
func set(object map[string]any, field, key string) {
	metadata, _ := object["metadata"].(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
		object["metadata"] = metadata
	}
	values, _ := metadata[field].(map[string]any)
	if values == nil {
		values = map[string]any{}
		metadata[field] = values
	}
	values[key] = host
}

// templatesOf returns the Pod templates of a workload, or the parents of the metadata of its Pods.
func templatesOf(object map[string]any, resource string) []map[string]any {
	var found []map[string]any
	var walk func(value any, path []string)
	walk = func(value any, path []string) {
		fields, ok := value.(map[string]any)
		switch {
		case !ok:
		case len(path) == 0:
			found = append(found, fields)
		default:
			name, list := strings.CutSuffix(path[0], workload.Elements)
			if !list {
				walk(fields[name], path[1:])
				return
			}
			elements, _ := fields[name].([]any)
			for _, element := range elements {
				walk(element, path[1:])
			}
		}
	}
	for _, path := range workload.Known()[resource].Templates {
		walk(object, path.Fields())
	}
	return found
}

// TestNearMissesAreRefusedOrWarnedOf shows what an API server with the chart says of each near miss
// on each kind of object.
func TestNearMissesAreRefusedOrWarnedOf(t *testing.T) {
	if err := withCRDs(); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	var table strings.Builder
	try := func(kind, miss string, object map[string]any) {
		cmd := installed.Server.Command(
			t.Context(), "kubectl", "create", "--dry-run=server", "--output=json", "--filename=-", "--namespace", w.namespace)
		cmd.Stdin = strings.NewReader(manifest(t, object))
		var stdout, stderr strings.Builder
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		outcome := "admitted"
		switch {
		case err != nil:
			outcome = "refused"
		case strings.Contains(stdout.String(), "mtls.egress/propagated"):
			outcome = "propagated"
		case strings.Contains(stdout.String(), "to.mtls.egress/"):
			outcome = "injected"
		}
		if stderr.Len() > 0 && err == nil {
			outcome += ", warned"
		}
		fmt.Fprintf(&table, "%s with %s: %s\n", kind, miss, outcome)
		for line := range strings.Lines(strings.ReplaceAll(stderr.String(), w.namespace, "project")) {
			fmt.Fprintf(&table, "    %s\n", strings.TrimSpace(line))
		}
	}
	for _, miss := range nearMisses() {
		pod := map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "shop"},
			"spec": podTemplate(nil)["spec"]}
		if !strings.Contains(miss.name, "template") {
			miss.change(pod, nil)
			try("Pod", miss.name, pod)
		}
		for _, resource := range slices.Sorted(maps.Keys(workload.Known())) {
			templated := len(workload.Known()[resource].Templates) > 0
			if strings.Contains(miss.name, "template") && !templated {
				continue
			}
			object := workloadOf(resource, nil, map[string]any{})
			miss.change(object, templatesOf(object, resource))
			try(resource, miss.name, object)
		}
		if strings.Contains(miss.name, "template") {
			continue
		}
		for _, kind := range []string{"Namespace", "Service"} {
			object := map[string]any{
				"apiVersion": "v1", "kind": kind, "metadata": map[string]any{"name": "shop"},
				"spec": map[string]any{},
			}
			if kind == "Service" {
				object["spec"] = map[string]any{"ports": []any{map[string]any{"port": 80}}}
			}
			miss.change(object, nil)
			try(kind, miss.name, object)
		}
	}
	golden.Compare(t, filepath.Join(installed.Root, "test", "testdata", "near-misses.txt"), []byte(table.String()))
}
