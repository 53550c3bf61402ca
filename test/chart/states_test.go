package chart

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// states are the arguments of Helm for the values in testdata/values, each a state of the whole
// chart, and for the defaults.
func states(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files of values: %v", len(files), err)
	}
	found := map[string][]string{"default": nil}
	for _, file := range files {
		found[strings.TrimSuffix(filepath.Base(file), ".yaml")] = []string{"--values", file}
	}
	return found
}

// TestStatesLeaveNoValueOut: a value that is in no state is tried by nothing here.
func TestStatesLeaveNoValueOut(t *testing.T) {
	read := func(path string) map[string]any {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]any{}
		if err := yaml.Unmarshal(content, &values); err != nil {
			t.Fatal(err)
		}
		return values
	}
	schema := fromFile(t, "values.schema.json").Object
	defaults := leaves(schema, read(filepath.Join(chartDir, "values.yaml")), "")
	everything := leaves(schema, read("testdata/values/everything.yaml"), "")
	least := leaves(schema, read("testdata/values/least.yaml"), "")
	// Without it the chart renders nothing.
	delete(defaults, "enabled")
	for _, name := range slices.Sorted(maps.Keys(defaults)) {
		value := defaults[name]
		if value == true {
			if least[name] != false {
				t.Errorf("testdata/values/least.yaml has %s: %v, want false", name, least[name])
			}
			continue
		}
		if other, set := everything[name]; !set || cmp.Equal(value, other) {
			t.Errorf("testdata/values/everything.yaml has %s: %v, want another value than the default", name, other)
		}
	}
}

// leaves are the values by their paths, down to where the schema has no properties.
func leaves(schema, values map[string]any, path string) map[string]any {
	found := map[string]any{}
	properties, _ := schema["properties"].(map[string]any)
	for name, value := range values {
		property, _ := properties[name].(map[string]any)
		section, isSection := value.(map[string]any)
		if _, described := property["properties"]; described && isSection {
			maps.Copy(found, leaves(property, section, path+name+"."))
			continue
		}
		found[path+name] = value
	}
	return found
}

func TestHelmFindsNothingWrong(t *testing.T) {
	for name, values := range states(t) {
		t.Run(name, func(t *testing.T) {
			said, problems, err := helm(t,
				append([]string{"lint", chartDir, "--strict", "--namespace", namespace, image}, values...)...)
			if err != nil {
				t.Errorf("%v\n%s%s", err, said, problems)
			}
		})
	}
}

// TestEveryTemplateIsTriedInTwoStates: one that looks the same in all of them has conditions, or
// values, that are tried by nothing.
func TestEveryTemplateIsTriedInTwoStates(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(chartDir, "templates", "[a-z]*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d templates: %v", len(files), err)
	}
	seen := map[string]map[string]bool{}
	for name, values := range states(t) {
		// What names and labels all objects would make all templates differ.
		manifests, problems, err := template(t, release,
			append(values, "--set", "nameOverride=,fullnameOverride=,namespaceOverride=",
				"--set-json", "commonLabels=null,commonAnnotations=null")...)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, problems)
		}
		rendered := map[string]string{}
		for document := range strings.SplitSeq(manifests, "\n---\n") {
			source, content, _ := strings.Cut(strings.TrimPrefix(document, "---\n"), "\n")
			rendered[filepath.Base(source)] += content
		}
		for _, file := range files {
			template := filepath.Base(file)
			if seen[template] == nil {
				seen[template] = map[string]bool{}
			}
			seen[template][strings.TrimSpace(rendered[template])] = true
		}
	}
	for template, contents := range seen {
		if template == "validate.yaml" {
			continue // renders nothing if it doesn't fail
		}
		// The leader writes into the Lease, wherever it runs.
		if len(contents) < 2 && template != "lease.yaml" {
			t.Errorf("%s is the same in every state", template)
		}
		if len(contents) == 1 && contents[""] {
			t.Errorf("%s is rendered in no state", template)
		}
	}
}
