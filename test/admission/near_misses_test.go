package admission_test

import (
	"cmp"
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
		{"the label mtls.egress/target in the Job template", inTemplates("labels", "mtls.egress/target")},
		{"the annotation mtls.egress/target in the Job template", inTemplates("annotations", "mtls.egress/target")},
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

// templatesOf returns the Pod templates of a workload.
func templatesOf(object map[string]any, resource string) []map[string]any {
	return objectsAt(object, workload.Known()[resource].Templates)
}

// jobTemplatesOf returns the templates of Jobs in a workload.
func jobTemplatesOf(object map[string]any, resource string) []map[string]any {
	var paths []workload.Path
	for _, path := range workload.Known()[resource].Templates {
		if ofJob, found := path.OfWorkload(); found {
			paths = append(paths, workload.Path(strings.TrimSuffix(string(ofJob), ".metadata.annotations")))
		}
	}
	return objectsAt(object, paths)
}

// objectsAt returns the objects at the paths.
func objectsAt(object map[string]any, paths []workload.Path) []map[string]any {
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
	for _, path := range paths {
		walk(object, path.Fields())
	}
	return found
}

// answers are what the API server said of one near miss: the kinds by outcome and message, in which
// the kind is called KIND.
type answers map[string][]string

// add adds the answer to kubectl create. printed is the object that would be created.
func (a answers) add(resource, kind, printed, said string, refused bool) {
	outcome := "admitted"
	switch {
	case refused:
		outcome = "refused"
	case strings.Contains(printed, "mtls.egress/propagated"):
		outcome = "propagated"
	case strings.Contains(printed, "to.mtls.egress/"):
		outcome = "injected"
	}
	if said != "" && !refused {
		outcome += ", warned"
	}
	plural, _, _ := strings.Cut(resource, ".")
	said = strings.ReplaceAll(said, "The "+plural+" ", "The KIND ")
	said = strings.ReplaceAll(strings.ReplaceAll(said, " "+kind+" shop", " KIND shop"), " a "+kind+",", " a KIND,")
	var answer strings.Builder
	fmt.Fprintf(&answer, "  %s:\n", outcome)
	for line := range strings.Lines(said) {
		fmt.Fprintf(&answer, "    %s\n", strings.TrimSpace(line))
	}
	a[answer.String()] = append(a[answer.String()], resource)
}

// String lists the answers, the most frequent ones first.
func (a answers) String() string {
	var text strings.Builder
	for _, answer := range slices.SortedFunc(maps.Keys(a), func(one, other string) int {
		return cmp.Or(cmp.Compare(len(a[other]), len(a[one])), cmp.Compare(one, other))
	}) {
		text.WriteString(answer)
		for _, resource := range slices.Sorted(slices.Values(a[answer])) {
			fmt.Fprintf(&text, "    - %s\n", resource)
		}
	}
	return text.String()
}

// TestNearMissesAreRefusedOrWarnedOf shows what an API server with the chart says of each near miss
// on each kind of object.
func TestNearMissesAreRefusedOrWarnedOf(t *testing.T) {
	if err := withCRDs(); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.kubectl("label", "namespace", w.namespace, "istio-injection=enabled")
	var table strings.Builder
	for _, miss := range nearMisses() {
		got := answers{}
		try := func(resource string, object map[string]any) {
			cmd := installed.Server.Command(t.Context(), "kubectl", "create", "--dry-run=server", "--output=json",
				"--filename=-", "--namespace", w.namespace)
			cmd.Stdin = strings.NewReader(manifest(t, object))
			var stdout, stderr strings.Builder
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			said := strings.ReplaceAll(stderr.String(), w.namespace, "project")
			got.add(resource, object["kind"].(string), stdout.String(), said, err != nil)
		}
		inTemplate := strings.Contains(miss.name, "template")
		for _, resource := range slices.Sorted(maps.Keys(workload.Known())) {
			if inTemplate && len(workload.Known()[resource].Templates) == 0 {
				continue
			}
			object := workloadOf(resource, nil, map[string]any{})
			templates := templatesOf(object, resource)
			if strings.Contains(miss.name, "Job template") {
				if templates = jobTemplatesOf(object, resource); len(templates) == 0 {
					continue
				}
			}
			miss.change(object, templates)
			try(resource, object)
		}
		for resource, object := range map[string]map[string]any{
			"pods":       {"kind": "Pod", "spec": podTemplate(nil)["spec"]},
			"namespaces": {"kind": "Namespace"},
			"services":   {"kind": "Service", "spec": map[string]any{"ports": []any{map[string]any{"port": 80}}}},
		} {
			if inTemplate {
				continue
			}
			object["apiVersion"], object["metadata"] = "v1", map[string]any{"name": "shop"}
			miss.change(object, nil)
			try(resource, object)
		}
		fmt.Fprintf(&table, "%s\n%s", miss.name, got)
	}
	golden.Compare(t, filepath.Join(installed.Root, "test", "testdata", "near-misses.txt"), []byte(table.String()))
}
