package mutate

import (
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// writtenInTemplate reports whether the user's manifest sets the annotation in the Pod template. It
// checks the last-applied annotation of kubectl apply and the managed fields of server-side apply.
// Tools that patch in other ways, such as Helm before version 4, leave no trace.
func (s *Object) writtenInTemplate(annotation string) bool {
	path := append(Template(s.kind), "metadata", "annotations", annotation)
	if hasPath([]byte(s.metadata.Annotations[corev1.LastAppliedConfigAnnotation]), path) {
		return true
	}
	fields := make([]string, len(path))
	for i, name := range path {
		fields[i] = "f:" + name
	}
	return slices.ContainsFunc(s.metadata.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Operation == metav1.ManagedFieldsOperationApply && entry.FieldsV1 != nil &&
			hasPath(entry.FieldsV1.GetRawBytes(), fields)
	})
}

// hasPath reports whether the JSON object has a value at the path of member names. It returns false
// if text is not a JSON object.
func hasPath(text []byte, path []string) bool {
	var object map[string]any
	if json.Unmarshal(text, &object) != nil {
		return false
	}
	_, found, err := unstructured.NestedFieldNoCopy(object, path...)
	return found && err == nil
}
