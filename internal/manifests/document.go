package manifests

import (
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Document is one manifest of the input.
type Document struct {
	// Source is the file, the URL or STDIN.
	Source string
	// Number is the position in Source, starting at 1.
	Number int
	// Object is the manifest. It may be a list with items.
	Object map[string]any
}

// Location identifies an object in messages.
type Location struct {
	Source    string
	Number    int
	Kind      string
	Namespace string
	Name      string
}

// String returns the location in the format of messages, for example "shop.yaml, document 2,
// Deployment project/shop".
func (p Location) String() string {
	name := p.Name
	if p.Namespace != "" {
		name = p.Namespace + "/" + name
	}
	return fmt.Sprintf("%s, document %d, %s %s", p.Source, p.Number, p.Kind, name)
}

// Problem is one reason to reject the input.
type Problem struct {
	Location Location
	Message  string
}

// String returns the location and the message.
func (p Problem) String() string {
	return p.Location.String() + ": " + p.Message
}

// item is one object of the input: a document, or an element of a list.
type item struct {
	location Location
	kind     schema.GroupVersionKind
	object   map[string]any
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
			itemsOf(output[n], document, namespace, func(object map[string]any) { output[n] = object })...)
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
				items = append(
					items,
					itemsOf(child, document, namespace, func(object map[string]any) { elements[n] = object })...)
			}
		}
		return items
	}
	metadata, _ := object["metadata"].(map[string]any)
	location := Location{
		Source:    document.Source,
		Number:    document.Number,
		Kind:      kind,
		Namespace: text(metadata, "namespace"),
		Name:      text(metadata, "name"),
	}
	if location.Name == "" {
		location.Name = text(metadata, "generateName")
	}
	if location.Namespace == "" {
		location.Namespace = namespace
	}
	return []item{{location: location, kind: schema.FromAPIVersionAndKind(apiVersion, kind), object: object, put: put}}
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
