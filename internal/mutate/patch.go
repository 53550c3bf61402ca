package mutate

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"gomodules.xyz/jsonpatch/v2"
)

// patch collects JSON patch operations (RFC 6902). They are built one by one, not by comparing two
// objects. A comparison takes quadratic time and removes fields that this program's types lack.
type patch struct {
	operations []jsonpatch.Operation
	// annotations are the annotations of a Pod that the operations set.
	annotations map[string]string
	// added are the locations of empty objects that operations added.
	added []string
}

// annotated returns the annotations of a Pod after the patch.
func (p *patch) annotated(annotations map[string]string) map[string]string {
	after := make(map[string]string, len(annotations)+len(p.annotations))
	maps.Copy(after, annotations)
	maps.Copy(after, p.annotations)
	return after
}

// addMissing adds the objects at these locations, from the outside in, that the patch doesn't add
// yet.
func (p *patch) addMissing(pointers []string) {
	for _, pointer := range pointers {
		if !slices.Contains(p.added, pointer) {
			p.add(pointer, map[string]any{})
			p.added = append(p.added, pointer)
		}
	}
}

// setKeys sets the keys of values, in sorted order, in the object at path. existing is the current
// object. RFC 6902 can't add below a missing object, so setKeys adds the whole object if existing
// is empty.
func (p *patch) setKeys(path string, existing, values map[string]string) {
	if len(values) == 0 {
		return
	}
	if len(existing) == 0 {
		p.add(path, values)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		p.add(path+"/"+escape(key), values[key])
	}
}

func (p *patch) removeKey(path, key string) {
	p.operations = append(p.operations, jsonpatch.NewOperation("remove", path+"/"+escape(key), nil))
}

// appendTo appends items to the list at path, which has length elements. An empty list may be
// missing, so appendTo adds the whole list in that case.
func appendTo[T any](p *patch, path string, length int, items []T) {
	if len(items) == 0 {
		return
	}
	if length == 0 {
		p.add(path, items)
		return
	}
	for _, item := range items {
		p.add(path+"/-", item)
	}
}

func (p *patch) add(path string, value any) {
	p.operations = append(p.operations, jsonpatch.NewOperation("add", path, value))
}

// escape escapes a key as a reference token of a JSON pointer (RFC 6901 §3).
func escape(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

func index(path string, n int) string {
	return path + "/" + strconv.Itoa(n)
}
