package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSchemaOf(t *testing.T) {
	got, err := schemaOf(sources{
		constraints: []byte(`
title: Values
definitions:
  name: {type: string, pattern: '^a<b$'}
values:
  name: name
  section: {required: [on]}
  "*.count": {minimum: 1}
  global: {additionalProperties: true}
  section.which: {type: [array, 'null'], items: {type: object}}
  section.deeper.word: {enum: [a, false]}
  labels: {additionalProperties: {type: string}}
`),
		hints: []byte(`
replicas: write section.count
section.number: write section.count
"*.replicas": write *.count
`),
		values: []byte(`# A comment for readers of the file.

# -- Its name.
name: ""

section:
  # -- Whether,
  # or not.
  on: true
  # -- How many.
  count: 2

  # -- (list) Which.
  which: null
  deeper:
    # -- A word.
    word: a
# -- Labels, as in {a: b}.
labels: {c: d}
global:
  # -- How many.
  count: 2
webhook:
  # -- How many.
  count: 2
controller:
  # -- How many.
  count: 2
`)})
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "$schema": "http://json-schema.org/draft-07/schema#",
  "additionalProperties": false,
  "definitions": {
    "name": {
      "pattern": "^a<b$",
      "type": "string"
    }
  },
  "properties": {
    "controller": {
      "additionalProperties": false,
      "properties": {
        "count": {
          "description": "How many.",
          "minimum": 1,
          "type": "integer"
        },
        "replicas": {
          "description": "The chart has no such value: write controller.count"
        }
      },
      "type": "object"
    },
    "global": {
      "additionalProperties": true,
      "properties": {
        "count": {
          "description": "How many.",
          "minimum": 1,
          "type": "integer"
        }
      },
      "type": "object"
    },
    "labels": {
      "additionalProperties": {
        "type": "string"
      },
      "description": "Labels, as in {a: b}.",
      "type": "object"
    },
    "name": {
      "$ref": "#/definitions/name",
      "description": "Its name."
    },
    "replicas": {
      "description": "The chart has no such value: write section.count"
    },
    "section": {
      "additionalProperties": false,
      "properties": {
        "count": {
          "description": "How many.",
          "minimum": 1,
          "type": "integer"
        },
        "deeper": {
          "additionalProperties": false,
          "properties": {
            "word": {
              "description": "A word.",
              "enum": [
                "a",
                false
              ]
            }
          },
          "type": "object"
        },
        "number": {
          "description": "The chart has no such value: write section.count"
        },
        "on": {
          "description": "Whether, or not.",
          "type": "boolean"
        },
        "which": {
          "description": "Which.",
          "items": {
            "type": "object"
          },
          "type": [
            "array",
            "null"
          ]
        }
      },
      "required": [
        "on"
      ],
      "type": "object"
    },
    "webhook": {
      "additionalProperties": false,
      "properties": {
        "count": {
          "description": "How many.",
          "minimum": 1,
          "type": "integer"
        },
        "replicas": {
          "description": "The chart has no such value: write webhook.count"
        }
      },
      "type": "object"
    }
  },
  "title": "Values",
  "type": "object"
}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestIncompleteValues(t *testing.T) {
	tests := map[string]struct {
		values, constraints, hints string
		want                       []string
	}{
		"all at once": {
			values: "a:\n  b: 1\n# About c.\nc: text\n",
			want: []string{
				`values.yaml: line 2: a.b: needs a description: a comment that begins with "# -- "`,
				`values.yaml: line 4: c: needs a description: a comment that begins with "# -- "`,
			},
		},
		"a mapping without a constraint": {
			values: "# -- Labels.\nlabels: {}\n",
			want: []string{"values.yaml: line 2: labels: needs a constraint with additionalProperties, items or a definition " +
				"in values.constraints.yaml"},
		},
		"a list without a constraint": {
			values: "# -- Names.\nnames: [a]\n",
			want: []string{"values.yaml: line 2: names: needs a constraint with additionalProperties, items or a definition " +
				"in values.constraints.yaml"},
		},
		"a default without a type": {
			values: "# -- A name.\nname: null\n",
			want: []string{
				"values.yaml: line 2: name: needs a constraint with the type in values.constraints.yaml: the default is null",
			},
		},
		"constraints and hints that lead nowhere": {
			values:      "a:\n  # -- B.\n  b: 1\n",
			constraints: "values: {a.b: {minimum: 1}, c: {minimum: 1}, '*.d': {minimum: 1}, a.b.c: {minimum: 1}}",
			hints:       "{a.b: write c, c.d: write a.b, e: '', f: write a.b}",
			want: []string{
				"values.constraints.yaml: values: *.d matches no value in values.yaml",
				"values.constraints.yaml: values: a.b.c matches no value in values.yaml",
				"values.constraints.yaml: values: c matches no value in values.yaml",
				"files/hints.yaml: a.b: the chart has this value, so it needs no hint",
				"files/hints.yaml: c.d: the chart has no such section of values",
				"files/hints.yaml: e: the hint is empty",
			},
		},
		"two constraints for one value": {
			values:      "a:\n  # -- B.\n  b: 1\n",
			constraints: "values: {a.b: {minimum: 1}, '*.b': {maximum: 2}}",
			want:        []string{"values.yaml: line 3: a.b: has the constraints of *.b and a.b: want one"},
		},
		"a definition that doesn't exist": {
			values:      "# -- A name.\nname: a\n",
			constraints: "values: {name: names}",
			want:        []string{`values.constraints.yaml: values: name: there is no definition "names"`},
		},
		"a constraint that is a number": {
			values:      "# -- A name.\nname: a\n",
			constraints: "values: {name: 1}",
			want: []string{
				"values.constraints.yaml: values: name: want JSON Schema keywords or the name of a definition",
			},
		},
		"constraints that are not YAML": {
			values:      "# -- A name.\nname: a\n",
			constraints: "values: [",
			want:        []string{"values.constraints.yaml: yaml: line 1: did not find expected node content"},
		},
		"no values": {values: "[]", want: []string{"values.yaml: want one mapping of values"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			schema, err := schemaOf(sources{
				values: []byte(test.values), constraints: []byte(test.constraints), hints: []byte(test.hints),
			})
			if err == nil {
				t.Fatalf("got %s, want an error", schema)
			}
			if diff := cmp.Diff(test.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
