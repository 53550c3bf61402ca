package informers

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/apply"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// A written object must be in sync when it is cached, and not in sync after any change of any
// field.
func TestCachedObjectsAreComparedToTheLastField(t *testing.T) {
	wanted := egress.FromEgressTarget("project", host, nil, egress.Sinkhole{})
	layout := egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"}
	for _, object := range mesh.Objects(wanted, layout) {
		object.SetOwnerReferences([]metav1.OwnerReference{mesh.OwnerReference(&v1alpha1.EgressTarget{}, true)})
		desired, err := mesh.Unstructured(object)
		if err != nil {
			t.Fatal(err)
		}
		desired.SetCreationTimestamp(metav1.Unix(1, 0))
		desired.SetGeneration(3)
		if !apply.AsDesired(cached(t, desired), desired) {
			t.Errorf("%s: the written object isn't in sync", desired.GetKind())
		}
		for _, other := range everyChange(desired.Object["spec"]) {
			changed := desired.DeepCopy()
			changed.Object["spec"] = other
			if apply.AsDesired(cached(t, changed), desired) {
				t.Errorf("%s: in sync with the spec %v", desired.GetKind(), other)
			}
		}
	}
}

// cached returns the object as the cache holds it.
func cached(t *testing.T, object *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	kept, err := transformIstioObject(object.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	return kept.(*unstructured.Unstructured)
}

// everyChange returns copies of value. In each copy, one part is changed, removed or added.
func everyChange(value any) []any {
	changes := []any{nil, "something else"}
	with := func(change func(parts map[string]any)) {
		parts := runtime.DeepCopyJSON(value.(map[string]any))
		change(parts)
		changes = append(changes, parts)
	}
	switch value := value.(type) {
	case map[string]any:
		with(func(parts map[string]any) { parts["newField"] = int64(0) })
		for name, part := range value {
			with(func(parts map[string]any) { delete(parts, name) })
			for _, other := range everyChange(part) {
				with(func(parts map[string]any) { parts[name] = other })
			}
		}
	case []any:
		changes = append(changes, append(runtime.DeepCopyJSONValue(value).([]any), "another"))
		for n, part := range value {
			for _, other := range everyChange(part) {
				list := runtime.DeepCopyJSONValue(value).([]any)
				list[n] = other
				changes = append(changes, list)
			}
		}
	}
	return changes
}
