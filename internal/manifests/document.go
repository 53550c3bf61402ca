package manifests

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Document is one manifest of the input.
type Document struct {
	// Source is the file, the URL or STDIN.
	Source string
	// Number is the position in Source, starting at 1. Line is the line at which the document starts.
	Number, Line int
	// Object is the manifest. It may be a list with items.
	Object map[string]any
	// text is the YAML or JSON of the document. It is empty for documents that come from elsewhere,
	// such as kustomize or a cluster.
	text excerpt
	// tree is the text, parsed when a position in it is asked for. Copies of the document share it.
	tree *tree
	// within leads to the object in the text, if it is not all of it.
	within []any
}

// Object is one object of a document: the document itself, or an element of a list.
type Object struct {
	Location Location
	Kind     schema.GroupVersionKind
	// Content is the object. It must not be changed.
	Content map[string]any

	document Document
	// path leads from the document to the object.
	path []any
}

// Objects returns the objects in the documents, in order. namespace is the namespace of those that
// have none; it may be "".
func Objects(documents []Document, namespace string) []Object {
	var objects []Object
	for _, document := range documents {
		for _, item := range itemsOf(document.Object, document, namespace, nil, func(map[string]any) {}) {
			objects = append(objects, Object{
				Location: item.location, Kind: item.kind, Content: item.object, document: document, path: item.path,
			})
		}
	}
	return objects
}

// Position returns the line and the column, both from 1, of the field that path leads to: names of
// fields and indices of lists. If the field isn't there, it is the position of the last part of the
// path that is. A document without text has the line of the document, and the column 1.
func (o Object) Position(path ...any) (line, column int) {
	root := o.document.tree.of(o.document.text)
	if root == nil {
		return o.document.Line, 1
	}
	node := nodeAt(root, slices.Concat(o.document.within, o.path, path))
	return o.document.text.line + max(node.Line, 1) - 1, max(node.Column, 1)
}

// tree is the syntax tree of a text. It is parsed once, because a List can have a finding for each
// of thousands of objects.
type tree struct {
	once sync.Once
	root *yaml.Node
}

// of returns the root, or nil without a text that can be parsed.
func (t *tree) of(text excerpt) *yaml.Node {
	if t == nil {
		return nil
	}
	t.once.Do(func() {
		var root yaml.Node
		if len(text.text) > 0 && yaml.Unmarshal(text.text, &root) == nil {
			t.root = &root
		}
	})
	return t.root
}

// Location identifies an object in messages.
type Location struct {
	Source    string
	Number    int
	Line      int
	Kind      string
	Namespace string
	Name      string
	// Element is the path to the object in a List: several can have the same name.
	Element string
}

// String returns the location in the format of messages, for example "shop.yaml, document 2, line
// 14, Deployment project/shop". What isn't known is left out.
func (p Location) String() string {
	name := p.Name
	if p.Namespace != "" {
		name = p.Namespace + "/" + name
	}
	place := fmt.Sprintf("%s, document %d, line %d", p.Source, p.Number, p.Line)
	if object := strings.TrimSpace(p.Kind + " " + name); object != "" {
		place += ", " + object
	}
	return place
}

// item is one object of the input: a document, or an element of a list.
type item struct {
	location Location
	kind     schema.GroupVersionKind
	object   map[string]any
	// path leads from the document to the object.
	path []any
	// put replaces the object in the output.
	put func(map[string]any)
}

// namespace returns the namespace of the object, or the default namespace of the input, which may
// be "".
func (i item) namespace() string {
	return i.location.Namespace
}

// open returns a mutable copy of the documents, and the objects in it.
func open(documents []Document, namespace string) ([]map[string]any, []item) {
	output := make([]map[string]any, len(documents))
	var items []item
	for n, document := range documents {
		output[n] = runtime.DeepCopyJSON(document.Object)
		items = append(
			items,
			itemsOf(output[n], document, namespace, nil, func(object map[string]any) { output[n] = object })...)
	}
	return output, items
}

func itemsOf(
	object map[string]any, document Document, namespace string, path []any, put func(map[string]any),
) []item {
	kind, _ := object["kind"].(string)
	apiVersion, _ := object["apiVersion"].(string)
	elements, isList := object["items"].([]any)
	if isList && strings.HasSuffix(kind, "List") {
		var items []item
		for n, element := range elements {
			if child, ok := element.(map[string]any); ok {
				items = append(
					items,
					itemsOf(child, document, namespace, append(slices.Clip(path), "items", n),
						func(object map[string]any) { elements[n] = object })...)
			}
		}
		return items
	}
	location := locate(object, document.Source)
	location.Number, location.Line, location.Element = document.Number, document.Line, FieldPath(path)
	if location.Namespace == "" {
		location.Namespace = namespace
	}
	return []item{{
		location: location, kind: schema.FromAPIVersionAndKind(apiVersion, kind), object: object, path: path, put: put,
	}}
}

// locate returns what the object itself says of its location.
func locate(object map[string]any, source string) Location {
	metadata, _ := object["metadata"].(map[string]any)
	return Location{
		Source: source, Kind: text(object, "kind"), Namespace: text(metadata, "namespace"),
		Name: cmp.Or(text(metadata, "name"), text(metadata, "generateName")),
	}
}

func text(fields map[string]any, name string) string {
	// A missing value or one that is not a string is treated as empty, as in the API machinery's
	// accessors.
	value, _ := fields[name].(string)
	return value
}

// decodeInto converts the object to a typed one. It ignores unknown fields.
func (i item) decodeInto(typed any) error {
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(i.object, typed); err != nil {
		return fmt.Errorf("is not a valid %s: %w", i.kind.Kind, err)
	}
	return nil
}

func (i item) json() ([]byte, error) {
	encoded, err := json.Marshal(i.object)
	if err != nil {
		return nil, fmt.Errorf("encoding it as JSON: %w", err)
	}
	return encoded, nil
}
