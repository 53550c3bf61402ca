package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// The lines around the YAML part of a comment. It holds JSON Schema keywords for the value below,
	// or for all values. The marks are those of https://github.com/dadav/helm-schema, which editors
	// and other tools also support.
	markValue = "@schema"
	markRoot  = "@schema.root"
	// markDescription begins the text that helm-docs writes into the table.
	markDescription = "-- "
)

// schemaOf returns the schema of values.yaml as indented JSON, in draft 7, which all versions of
// Helm support. It derives what the comments don't define from the defaults: the type of a value,
// and the values that a section can have. The error lists all values without a description, and all
// mappings and lists that would accept any content.
func schemaOf(values []byte) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(values, &document); err != nil {
		return nil, err
	}
	if len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("want one mapping of values")
	}
	root := document.Content[0]
	comment := document.HeadComment
	if len(root.Content) > 0 {
		comment += "\n" + root.Content[0].HeadComment
	}
	annotated, err := keywords(comment, markRoot)
	if err != nil {
		return nil, err
	}
	properties, problems := section(root, "")
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	// Helm passes the global values of a parent chart here.
	properties["global"] = map[string]any{"type": "object"}
	schema := object(properties)
	maps.Copy(schema, annotated)
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

// section returns the schemas of the values in mapping, by name. Each value has its own comment.
func section(mapping *yaml.Node, path string) (map[string]any, []error) {
	properties := map[string]any{}
	var problems []error
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		name := mapping.Content[i].Value
		schema, problem := property(mapping.Content[i], mapping.Content[i+1], path+name)
		properties[name] = schema
		problems = append(problems, problem...)
	}
	return properties, problems
}

func property(key, value *yaml.Node, path string) (map[string]any, []error) {
	problem := func(err error) (map[string]any, []error) {
		return nil, []error{fmt.Errorf("line %d: %s: %w", key.Line, path, err)}
	}
	schema, err := keywords(key.HeadComment, markValue)
	if err != nil {
		return problem(err)
	}
	description := describe(key.HeadComment)
	if description != "" {
		schema["description"] = description
	}
	defined := hasAny(schema, "$ref", "properties", "additionalProperties", "items")
	if value.Kind == yaml.MappingNode && len(value.Content) > 0 && !defined {
		found, problems := section(value, path+".")
		maps.Copy(schema, object(found))
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
		return problem(errors.New("needs an @schema comment with additionalProperties, items or $ref"))
	}
	return schema, nil
}

func hasAny(schema map[string]any, keywords ...string) bool {
	return slices.ContainsFunc(keywords, func(keyword string) bool { return schema[keyword] != nil })
}

// kindOf returns the JSON Schema type of a default value.
func kindOf(value *yaml.Node) (string, error) {
	kind, known := map[string]string{
		"!!str": "string", "!!int": "integer", "!!float": "number", "!!bool": "boolean",
		"!!map": "object", "!!seq": "array",
	}[value.Tag]
	if !known {
		return "", fmt.Errorf("needs an @schema comment with the type: the default is %s", strings.TrimLeft(value.Tag, "!"))
	}
	return kind, nil
}

// keywords returns the JSON Schema keywords in comment: the YAML between two lines with mark.
func keywords(comment, mark string) (map[string]any, error) {
	found := map[string]any{}
	var text strings.Builder
	open := false
	for line := range strings.Lines(comment) {
		line = strings.TrimPrefix(strings.TrimRight(line, "\n"), "#")
		switch {
		case strings.TrimSpace(line) == mark:
			open = !open
		case open:
			text.WriteString(strings.TrimPrefix(line, " ") + "\n")
		}
	}
	if open {
		return nil, fmt.Errorf("the comment has no closing %s", mark)
	}
	if err := yaml.Unmarshal([]byte(text.String()), &found); err != nil {
		return nil, fmt.Errorf("between the %s lines: %w", mark, err)
	}
	return found, nil
}

// describe returns the description in a comment, as helm-docs reads it: the text after the mark,
// without an optional type in parentheses.
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
