package workload

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Place is a field of an object, which may be missing.
type Place struct {
	// Pointer is the field as a JSON pointer (RFC 6901).
	Pointer string
	// Path is the field for messages.
	Path *field.Path
	// JSON is its value, or nil if it is missing or null.
	JSON json.RawMessage
	// Missing are the JSON pointers of the objects above it that are missing or null, from the outside
	// in.
	Missing []string
}

// Child returns a field of the value.
func (p Place) Child(name string) Place {
	child := Place{Pointer: p.Pointer + "/" + name, Missing: p.Missing}
	if p.Path == nil {
		child.Path = field.NewPath(name)
	} else {
		child.Path = p.Path.Child(name)
	}
	var fields map[string]json.RawMessage
	if p.JSON == nil || json.Unmarshal(p.JSON, &fields) != nil || fields == nil {
		child.Missing = append(slices.Clip(child.Missing), p.Pointer)
		return child
	}
	if value := fields[name]; string(value) != "null" {
		child.JSON = value
	}
	return child
}

// elements returns the elements of a list, or none if the value is not a list.
func (p Place) elements() []Place {
	var values []json.RawMessage
	if p.JSON == nil || json.Unmarshal(p.JSON, &values) != nil {
		return nil
	}
	places := make([]Place, len(values))
	for n, value := range values {
		places[n] = Place{Pointer: p.Pointer + "/" + strconv.Itoa(n), Path: p.Path.Index(n), JSON: value}
	}
	return places
}

// Find returns the places of the path in an object. There is one, which may be missing, unless the
// path has a list. Values that don't have the type that the path implies count as missing: the API
// server refuses them.
func (p Path) Find(object json.RawMessage) []Place {
	places := []Place{{JSON: object}}
	for _, name := range p.Fields() {
		name, list := strings.CutSuffix(name, Elements)
		var next []Place
		for _, place := range places {
			child := place.Child(name)
			if list {
				next = append(next, child.elements()...)
			} else {
				next = append(next, child)
			}
		}
		places = next
	}
	return places
}

// Fields returns the fields of the path, with the suffix Elements for lists.
func (p Path) Fields() []string { return strings.Split(string(p), ".") }

// JobAnnotations returns the places of the annotations of the Job templates in an object. See
// Path.OfWorkload.
func (k Kind) JobAnnotations(object json.RawMessage) []Place {
	var places []Place
	for _, path := range k.Templates {
		if ofJob, found := path.OfWorkload(); found {
			places = append(places, ofJob.Find(object)...)
		}
	}
	return places
}

// PodAnnotations returns the places of the annotations of the Pods of an object.
func (k Kind) PodAnnotations(object json.RawMessage) []Place {
	var places []Place
	for _, path := range k.Templates {
		for _, template := range path.Find(object) {
			places = append(places, template.Child("metadata").Child("annotations"))
		}
	}
	for _, path := range k.Annotations {
		places = append(places, path.Find(object)...)
	}
	return places
}
