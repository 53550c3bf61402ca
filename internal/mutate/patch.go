package mutate

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"gomodules.xyz/jsonpatch/v2"
)

// patch collects JSON-patch operations (RFC 6902). They are made one by one and never by comparing
// two objects, as a comparison takes time with the square of the object and removes fields that
// this program's types don't know.
type patch struct {
	operations []jsonpatch.Operation
}

// setKeys adds the keys of values to the object at path, in the order of their names. existing is
// what stands there: RFC 6902 can't add below a missing object, so with nothing there the object
// itself is added.
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

// removeKey removes the key of the object at path.
func (p *patch) removeKey(path, key string) {
	p.operations = append(p.operations, jsonpatch.NewOperation("remove", path+"/"+escape(key), nil))
}

// appendTo appends items to the list at path that has length elements; a list without any may be
// missing and is added.
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

// escape writes a key as one reference token of a JSON pointer (RFC 6901 §3).
func escape(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

func index(path string, n int) string {
	return path + "/" + strconv.Itoa(n)
}
