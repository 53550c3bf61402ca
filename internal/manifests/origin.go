package manifests

import (
	"slices"
	"strings"
)

// At returns the document with the position of its origin: of the object in the documents of a file
// that became this one, by a tool that changes names and fields. That is the object with its kind
// and name or, if there is only one, the object with its kind whose name is part of the name.
// Without such an object, the document is at the first line of the file.
func (d Document) At(source string, documents []Document) Document {
	d.Source, d.Number, d.Line, d.text, d.tree, d.within = source, 1, 1, excerpt{}, nil, nil
	group, kind, name := identityOf(d)
	var alike []Object
	for _, candidate := range Objects(documents, "") {
		if candidate.Kind.Group != group || candidate.Kind.Kind != kind {
			continue
		}
		if candidate.Location.Name == name {
			return d.from(candidate)
		}
		if candidate.Location.Name != "" && strings.Contains(name, candidate.Location.Name) {
			alike = append(alike, candidate)
		}
	}
	if len(alike) == 1 {
		return d.from(alike[0])
	}
	return d
}

func identityOf(d Document) (group, kind, name string) {
	for _, object := range Objects([]Document{d}, "") {
		return object.Kind.Group, object.Kind.Kind, object.Location.Name
	}
	return "", "", ""
}

// from returns the document with the text of the object.
func (d Document) from(origin Object) Document {
	d.Number, d.Line = origin.Location.Number, origin.Location.Line
	d.text, d.tree = origin.document.text, origin.document.tree
	d.within = slices.Concat(origin.document.within, origin.path)
	return d
}
