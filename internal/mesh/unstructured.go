package mesh

import (
	"encoding/json"
	"fmt"

	networking "istio.io/api/networking/v1alpha3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// Unstructured converts obj for server-side apply and for manifests: with apiVersion and kind,
// without status and creationTimestamp. It fails if obj has no kind or can't be encoded as JSON. It
// doesn't change obj, and the result shares no memory with it.
func Unstructured(obj runtime.Object) (*unstructured.Unstructured, error) {
	kind := obj.GetObjectKind().GroupVersionKind()
	if kind.Kind == "" || kind.Version == "" {
		return nil, fmt.Errorf("%T has no apiVersion and kind; set its TypeMeta", obj)
	}
	data, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("write the %s as JSON: %w", kind.Kind, err)
	}
	content := map[string]any{}
	if err := utiljson.Unmarshal(data, &content); err != nil {
		return nil, fmt.Errorf("read the %s back from JSON: %w", kind.Kind, err)
	}
	delete(content, "status")
	unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
	setZeroFields(content)
	return &unstructured.Unstructured{Object: content}, nil
}

// setZeroFields adds zero values that JSON of protocol buffers omits: the location of a
// ServiceEntry, the retry attempts of a route, and the TLS mode of a Gateway. Readers would miss
// them, and server-side apply would leave these fields to any other manager that sets them.
func setZeroFields(content map[string]any) {
	spec, _ := content["spec"].(map[string]any)
	switch content["kind"] {
	case KindServiceEntry:
		setMissing(spec, "location", networking.ServiceEntry_MESH_EXTERNAL.String())
	case KindVirtualService:
		setInElements(spec["http"], "retries", "attempts", int64(0))
	case kindGateway:
		setInElements(spec["servers"], "tls", "mode", networking.ServerTLSSettings_PASSTHROUGH.String())
	}
}

// setInElements sets a missing field of a struct in each element of a list that has the struct.
func setInElements(list any, structName, field string, value any) {
	elements, _ := list.([]any)
	for _, element := range elements {
		fields, _ := element.(map[string]any)
		inner, _ := fields[structName].(map[string]any)
		setMissing(inner, field, value)
	}
}

func setMissing(fields map[string]any, name string, value any) {
	if fields != nil && fields[name] == nil {
		fields[name] = value
	}
}

// NewUnstructured returns an empty object of one of the kinds of this package.
func NewUnstructured(kind string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(GroupVersion().WithKind(kind))
	return object
}

// Typed converts object to the type T of Istio or cert-manager. It drops fields that T doesn't
// have.
func Typed[T any](object *unstructured.Unstructured) (*T, error) {
	data, err := json.Marshal(object.Object)
	if err != nil {
		return nil, fmt.Errorf(
			"write the %s %s/%s as JSON: %w", object.GetKind(), object.GetNamespace(), object.GetName(), err,
		)
	}
	converted := new(T)
	if err := json.Unmarshal(data, converted); err != nil {
		return nil, fmt.Errorf("read the %s %s/%s: %w", object.GetKind(), object.GetNamespace(), object.GetName(), err)
	}
	return converted, nil
}
