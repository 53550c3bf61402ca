package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSchemaOf(t *testing.T) {
	got, err := schemaOf([]byte(`# A comment for readers of the file.

# @schema.root
# title: Values
# definitions:
#   name: {type: string, pattern: '^a<b$'}
# @schema.root

# @schema
# $ref: '#/definitions/name'
# @schema
# -- Its name.
name: ""

# @schema
# required: [on]
# @schema
section:
  # -- Whether,
  # or not.
  on: true
  # @schema
  # minimum: 1
  # @schema
  # -- How many.
  count: 2

  # @schema
  # type: [array, 'null']
  # items: {type: object}
  # @schema
  # -- (list) Which.
  which: null
  deeper:
    # @schema
    # enum: [a, false]
    # @schema
    # -- A word.
    word: a
# @schema
# additionalProperties: {type: string}
# @schema
# -- Labels, as in {a: b}.
labels: {c: d}
`))
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
    "global": {
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
		values string
		want   []string
	}{
		"all at once": {
			values: "a:\n  b: 1\n# About c.\nc: text\n",
			want: []string{
				`line 2: a.b: needs a description: a comment that begins with "# -- "`,
				`line 4: c: needs a description: a comment that begins with "# -- "`,
			},
		},
		"a mapping without a schema": {
			values: "# -- Labels.\nlabels: {}\n",
			want:   []string{"line 2: labels: needs an @schema comment with additionalProperties, items or $ref"},
		},
		"a list without a schema": {
			values: "# -- Names.\nnames: [a]\n",
			want:   []string{"line 2: names: needs an @schema comment with additionalProperties, items or $ref"},
		},
		"a default without a type": {
			values: "# -- A name.\nname: null\n",
			want:   []string{"line 2: name: needs an @schema comment with the type: the default is null"},
		},
		"keywords without a closing mark": {
			values: "# @schema\n# type: string\n# -- A name.\nname: a\n",
			want:   []string{"line 4: name: the comment has no closing @schema"},
		},
		"keywords that are not YAML": {
			values: "# @schema\n# type: [string\n# @schema\n# -- A name.\nname: a\n",
			want:   []string{"line 5: name: between the @schema lines: yaml: line 1: did not find expected ',' or ']'"},
		},
		"no values": {values: "[]", want: []string{"want one mapping of values"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			schema, err := schemaOf([]byte(test.values))
			if err == nil {
				t.Fatalf("got %s, want an error", schema)
			}
			if diff := cmp.Diff(test.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
