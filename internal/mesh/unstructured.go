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
	if err := setZeroFields(content); err != nil {
		return nil, fmt.Errorf("complete the %s: %w", kind.Kind, err)
	}
	return &unstructured.Unstructured{Object: content}, nil
}

// setZeroFields adds zero values that JSON of protocol buffers omits: the location of a
// ServiceEntry, the retry attempts of a route, and the TLS mode of a Gateway. Readers would miss
// them, and server-side apply would leave these fields to any other manager that sets them.
func setZeroFields(content map[string]any) error {
	switch content["kind"] {
	case KindServiceEntry:
		return showLocation(content)
	case KindVirtualService:
		return showAttempts(content)
	case kindGateway:
		return showMode(content)
	}
	return nil
}

func showMode(content map[string]any) error {
	servers, found, err := unstructured.NestedSlice(content, "spec", "servers")
	if err != nil || !found {
		return err
	}
	for _, server := range servers {
		fields, _ := server.(map[string]any)
		if settings, ok := fields["tls"].(map[string]any); ok && settings["mode"] == nil {
			settings["mode"] = networking.ServerTLSSettings_PASSTHROUGH.String()
		}
	}
	return unstructured.SetNestedSlice(content, servers, "spec", "servers")
}

func showLocation(content map[string]any) error {
	if _, found, err := unstructured.NestedString(content, "spec", "location"); err != nil || found {
		return err
	}
	return unstructured.SetNestedField(content, networking.ServiceEntry_MESH_EXTERNAL.String(), "spec", "location")
}

func showAttempts(content map[string]any) error {
	routes, found, err := unstructured.NestedSlice(content, "spec", "http")
	if err != nil || !found {
		return err
	}
	for _, route := range routes {
		fields, _ := route.(map[string]any)
		if retries, ok := fields["retries"].(map[string]any); ok && retries["attempts"] == nil {
			retries["attempts"] = int64(0)
		}
	}
	return unstructured.SetNestedSlice(content, routes, "spec", "http")
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
