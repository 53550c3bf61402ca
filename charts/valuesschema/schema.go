package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// markDescription begins the text that helm-docs writes into the table.
const markDescription = "-- "

// sources are the contents of the files that a schema comes from.
type sources struct {
	values      []byte // the defaults, each with a description in its comment
	constraints []byte // JSON Schema keywords for some of the values, and for all of them
	hints       []byte // by path, what to write in place of a value that the chart doesn't have
}

// schemaOf returns the schema of the values as indented JSON, in draft 7, which all versions of
// Helm support. It derives what the constraints don't define from the defaults: the type of a
// value, and the values that a section can have. Names with a hint can have any value, so that the
// chart can fail with the hint. The error lists all values without a description, all mappings and
// lists that would accept any content, all constraints without a value, and all hints for a value.
func schemaOf(in sources) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(in.values, &document); err != nil {
		return nil, fmt.Errorf("%s: %w", valuesFile, err)
	}
	if len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: want one mapping of values", valuesFile)
	}
	constraints, err := readConstraints(in.constraints)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", constraintsFile, err)
	}
	hints := map[string]string{}
	if err := yaml.Unmarshal(in.hints, &hints); err != nil {
		return nil, fmt.Errorf("%s: %w", hintsFile, err)
	}
	properties, problems := constraints.section(document.Content[0], "")
	problems = append(problems, constraints.unused()...)
	schema := object(properties)
	for _, pattern := range slices.Sorted(maps.Keys(hints)) {
		for path, hint := range expand(pattern, hints[pattern]) {
			problems = append(problems, addHint(schema, path, hint))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if properties["global"] == nil {
		// Helm passes the global values of a parent chart here.
		properties["global"] = map[string]any{"type": "object"}
	}
	maps.Copy(schema, constraints.root)
	schema["$schema"] = "http://json-schema.org/draft-07/schema#"
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(schema); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func object(properties map[string]any) map[string]any {
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
}

// constraints are JSON Schema keywords.
type constraints struct {
	root   map[string]any            // for all values, such as definitions
	values map[string]map[string]any // by the path of a value, in which * stands for any one name
	used   map[string]bool           // the keys of values that match a value
}

func readConstraints(content []byte) (constraints, error) {
	read := constraints{values: map[string]map[string]any{}, used: map[string]bool{}}
	if err := yaml.Unmarshal(content, &read.root); err != nil {
		return constraints{}, err
	}
	entries, _ := read.root["values"].(map[string]any)
	delete(read.root, "values")
	definitions, _ := read.root["definitions"].(map[string]any)
	for path, entry := range entries {
		switch entry := entry.(type) {
		case map[string]any:
			read.values[path] = entry
		case string:
			if definitions[entry] == nil {
				return constraints{}, fmt.Errorf("values: %s: there is no definition %q", path, entry)
			}
			read.values[path] = map[string]any{"$ref": "#/definitions/" + entry}
		default:
			return constraints{}, fmt.Errorf("values: %s: want JSON Schema keywords or the name of a definition", path)
		}
	}
	return read, nil
}

// of returns the keywords for the value at path. The caller can change the map.
func (c constraints) of(path string) (map[string]any, error) {
	found := map[string]any{}
	var matches []string
	for pattern, keywords := range c.values {
		if matchPath(pattern, path) {
			matches = append(matches, pattern)
			c.used[pattern] = true
			maps.Copy(found, keywords)
		}
	}
	if len(matches) > 1 {
		slices.Sort(matches)
		return nil, fmt.Errorf("has the constraints of %s: want one", strings.Join(matches, " and "))
	}
	return found, nil
}

// unused returns an error for each constraint without a value.
func (c constraints) unused() []error {
	var problems []error
	for _, pattern := range slices.Sorted(maps.Keys(c.values)) {
		if !c.used[pattern] {
			problems = append(problems,
				fmt.Errorf("%s: values: %s matches no value in %s", constraintsFile, pattern, valuesFile))
		}
	}
	return problems
}

// matchPath reports whether path is pattern, in which * stands for any one name.
func matchPath(pattern, path string) bool {
	wanted, names := strings.Split(pattern, "."), strings.Split(path, ".")
	return slices.EqualFunc(wanted, names, func(want, name string) bool { return want == "*" || want == name })
}

// section returns the schemas of the values in mapping, by name. Each value has its own comment.
func (c constraints) section(mapping *yaml.Node, path string) (map[string]any, []error) {
	properties := map[string]any{}
	var problems []error
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		name := mapping.Content[i].Value
		schema, problem := c.property(mapping.Content[i], mapping.Content[i+1], path+name)
		properties[name] = schema
		problems = append(problems, problem...)
	}
	return properties, problems
}

func (c constraints) property(key, value *yaml.Node, path string) (map[string]any, []error) {
	problem := func(err error) (map[string]any, []error) {
		return nil, []error{fmt.Errorf("%s: line %d: %s: %w", valuesFile, key.Line, path, err)}
	}
	schema, err := c.of(path)
	if err != nil {
		return problem(err)
	}
	description := describe(key.HeadComment)
	if description != "" {
		schema["description"] = description
	}
	defined := hasAny(schema, "$ref", "properties", "additionalProperties", "items")
	// A section can have other values only if its constraint is just that, such as global.
	open := schema["additionalProperties"] == true && !hasAny(schema, "$ref", "properties", "items")
	if value.Kind == yaml.MappingNode && len(value.Content) > 0 && (!defined || open) {
		found, problems := c.section(value, path+".")
		maps.Copy(schema, object(found))
		schema["additionalProperties"] = open
		return schema, problems
	}
	if description == "" {
		return problem(errors.New(`needs a description: a comment that begins with "# -- "`))
	}
	if !hasAny(schema, "$ref", "type", "enum") {
		kind, err := kindOf(value)
		if err != nil {
			return problem(err)
		}
		schema["type"] = kind
	}
	if (value.Kind == yaml.MappingNode || value.Kind == yaml.SequenceNode) && !defined {
		return problem(
			fmt.Errorf("needs a constraint with additionalProperties, items or a definition in %s", constraintsFile))
	}
	return schema, nil
}

func hasAny(schema map[string]any, keywords ...string) bool {
	return slices.ContainsFunc(keywords, func(keyword string) bool { return schema[keyword] != nil })
}

// expand yields the paths of a key of the hints, each with its hint. A key that begins with "*."
// stands for both processes, and so does a * in its hint.
func expand(pattern, hint string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		if !strings.HasPrefix(pattern, "*.") {
			yield(pattern, hint)
			return
		}
		for _, process := range []string{"webhook", "controller"} {
			if !yield(strings.Replace(pattern, "*", process, 1), strings.ReplaceAll(hint, "*", process)) {
				return
			}
		}
	}
}

// addHint allows any value at path in the schema.
func addHint(schema map[string]any, path, hint string) error {
	names := strings.Split(path, ".")
	section := schema
	for _, name := range names[:len(names)-1] {
		properties, _ := section["properties"].(map[string]any)
		section, _ = properties[name].(map[string]any)
	}
	properties, ok := section["properties"].(map[string]any)
	name := names[len(names)-1]
	switch {
	case !ok:
		return fmt.Errorf("%s: %s: the chart has no such section of values", hintsFile, path)
	case properties[name] != nil:
		return fmt.Errorf("%s: %s: the chart has this value, so it needs no hint", hintsFile, path)
	case hint == "":
		return fmt.Errorf("%s: %s: the hint is empty", hintsFile, path)
	}
	properties[name] = map[string]any{"description": "The chart has no such value: " + hint}
	return nil
}

// kindOf returns the JSON Schema type of a default value.
func kindOf(value *yaml.Node) (string, error) {
	kind, known := map[string]string{
		"!!str": "string", "!!int": "integer", "!!float": "number", "!!bool": "boolean",
		"!!map": "object", "!!seq": "array",
	}[value.Tag]
	if !known {
		return "", fmt.Errorf("needs a constraint with the type in %s: the default is %s", constraintsFile,
			strings.TrimLeft(value.Tag, "!"))
	}
	return kind, nil
}

// describe returns the description in a comment, as helm-docs reads it: the text after the mark,
// without an optional type in parentheses, and without the lines for helm-docs that follow.
func describe(comment string) string {
	var text []string
	for line := range strings.Lines(comment) {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "#"))
		if begun, found := strings.CutPrefix(line, markDescription); found {
			text = []string{begun}
		} else if text != nil {
			text = append(text, line)
		}
	}
	return regexp.MustCompile(`^\([a-z]+\) `).ReplaceAllString(strings.Join(text, " "), "")
}
