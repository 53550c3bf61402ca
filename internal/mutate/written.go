package mutate

import (
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// writtenInTemplate reports whether the manifest that a person applied has the annotation in the
// Pod template, as far as the object tells: by the manifest that kubectl apply leaves in an
// annotation, or by what server-side apply notes of each manager's fields. Tools that patch
// otherwise, such as Helm before version 4, leave neither.
func (s *Object) writtenInTemplate(annotation string) bool {
	path := append(Template(s.kind), "metadata", "annotations", annotation)
	if stands([]byte(s.metadata.Annotations[corev1.LastAppliedConfigAnnotation]), path) {
		return true
	}
	fields := make([]string, len(path))
	for i, name := range path {
		fields[i] = "f:" + name
	}
	return slices.ContainsFunc(s.metadata.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Operation == metav1.ManagedFieldsOperationApply && entry.FieldsV1 != nil && stands(entry.FieldsV1.GetRawBytes(), fields)
	})
}

// stands reports whether a JSON object has a value at the path of member names. What is no JSON has
// none.
func stands(text []byte, path []string) bool {
	var object map[string]any
	if json.Unmarshal(text, &object) != nil {
		return false
	}
	_, found, err := unstructured.NestedFieldNoCopy(object, path...)
	return found && err == nil
}
