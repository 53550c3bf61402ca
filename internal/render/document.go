package render

import (
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Document is one manifest as it was read.
type Document struct {
	// Source is the file, URL or STDIN.
	Source string
	// Number is the place in Source, counted from 1.
	Number int
	// Object is the manifest. A list holds its items.
	Object map[string]any
}

// Location is where an object stands, for messages.
type Location struct {
	Source    string
	Number    int
	Kind      string
	Namespace string
	Name      string
}

// String is the place as a message starts with it, for example "shop.yaml, document 2, Deployment
// project/shop".
func (p Location) String() string {
	name := p.Name
	if p.Namespace != "" {
		name = p.Namespace + "/" + name
	}
	return fmt.Sprintf("%s, document %d, %s %s", p.Source, p.Number, p.Kind, name)
}

// Problem is one reason for refusing the input.
type Problem struct {
	Location Location
	Message  string
}

// String is the problem with its place.
func (p Problem) String() string {
	return p.Location.String() + ": " + p.Message
}

// item is one object of the input: a document, or an element of a list in one.
type item struct {
	location Location
	kind     schema.GroupVersionKind
	object   map[string]any
	// put replaces the object in the output.
	put func(map[string]any)
}

// namespace is that of the object, or the one given for objects that name none; "" when nobody
// says.
func (i item) namespace() string {
	return i.location.Namespace
}

// open returns the documents as a copy that may be changed and the objects in them.
func open(documents []Document, namespace string) ([]map[string]any, []item) {
	output := make([]map[string]any, len(documents))
	var items []item
	for n, document := range documents {
		output[n] = runtime.DeepCopyJSON(document.Object)
		items = append(items, itemsOf(output[n], document, namespace, func(object map[string]any) { output[n] = object })...)
	}
	return output, items
}

func itemsOf(object map[string]any, document Document, namespace string, put func(map[string]any)) []item {
	kind, _ := object["kind"].(string)
	apiVersion, _ := object["apiVersion"].(string)
	elements, isList := object["items"].([]any)
	if isList && strings.HasSuffix(kind, "List") {
		var items []item
		for n, element := range elements {
			if child, ok := element.(map[string]any); ok {
				items = append(items, itemsOf(child, document, namespace, func(object map[string]any) { elements[n] = object })...)
			}
		}
		return items
	}
	metadata, _ := object["metadata"].(map[string]any)
	location := Location{Source: document.Source, Number: document.Number, Kind: kind, Namespace: text(metadata, "namespace"), Name: text(metadata, "name")}
	if location.Name == "" {
		location.Name = text(metadata, "generateName")
	}
	if location.Namespace == "" {
		location.Namespace = namespace
	}
	return []item{{location: location, kind: schema.FromAPIVersionAndKind(apiVersion, kind), object: object, put: put}}
}

func text(fields map[string]any, name string) string {
	// What is missing or no string counts as empty, as in the API machinery's own accessors.
	value, _ := fields[name].(string)
	return value
}

// decodeInto reads the object into a typed one. Unknown fields are ignored.
func (i item) decodeInto(typed any) error {
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(i.object, typed); err != nil {
		return fmt.Errorf("is no valid %s: %w", i.kind.Kind, err)
	}
	return nil
}

func (i item) json() ([]byte, error) {
	encoded, err := json.Marshal(i.object)
	if err != nil {
		return nil, fmt.Errorf("writing it as JSON: %w", err)
	}
	return encoded, nil
}
