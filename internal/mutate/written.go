package mutate

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/internal/workload"
)

// writtenInTemplate reports whether the user's manifest sets the annotation at path, the
// annotations of a Pod template. It checks the last-applied annotation of kubectl apply and the
// managed fields of server-side apply. Of a list, any element counts. Tools that patch in other
// ways, such as Helm before version 4, leave no trace.
func (s *Object) writtenInTemplate(path workload.Path, annotation string) bool {
	if hasPath([]byte(s.metadata.Annotations[corev1.LastAppliedConfigAnnotation]), path.Fields(), annotation) {
		return true
	}
	managed := make([]string, len(path.Fields()))
	for n, name := range path.Fields() {
		managed[n] = "f:" + name
	}
	return slices.ContainsFunc(s.metadata.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Operation == metav1.ManagedFieldsOperationApply && entry.FieldsV1 != nil &&
			hasPath(entry.FieldsV1.GetRawBytes(), managed, "f:"+annotation)
	})
}

// hasPath reports whether the JSON object has the member at the path. It returns false if text is
// not a JSON object.
func hasPath(text []byte, path []string, member string) bool {
	var object any
	return json.Unmarshal(text, &object) == nil && has(object, append(slices.Clone(path), member))
}

func has(value any, path []string) bool {
	if len(path) == 0 {
		return true
	}
	fields, _ := value.(map[string]any)
	name, list := strings.CutSuffix(path[0], workload.Elements)
	child, found := fields[name]
	if !found || !list {
		return found && has(child, path[1:])
	}
	within := func(element any) bool { return has(element, path[1:]) }
	if keyed, ok := child.(map[string]any); ok { // managed fields have the elements by key
		return slices.ContainsFunc(slices.Collect(maps.Values(keyed)), within)
	}
	elements, _ := child.([]any)
	return slices.ContainsFunc(elements, within)
}
