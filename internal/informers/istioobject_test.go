package informers

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/apply"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// pack decodes an object as an informer does.
func pack(t *testing.T, object *unstructured.Unstructured) IstioObject {
	t.Helper()
	text, err := object.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	packed := NewIstioObject(object.GetKind())
	if err := json.Unmarshal(text, packed); err != nil {
		t.Fatal(err)
	}
	return packed
}

// A written object must be in sync when it is read back, and not in sync after any change of any
// field.
func TestWhatIsPackedIsComparedToTheLastField(t *testing.T) {
	wanted := egress.FromEgressTarget("project", host, nil)
	layout := egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"}
	for _, object := range mesh.Objects(wanted, layout) {
		object.SetOwnerReferences([]metav1.OwnerReference{mesh.OwnerReference(&v1alpha1.EgressTarget{}, true)})
		desired, err := mesh.Unstructured(object)
		if err != nil {
			t.Fatal(err)
		}
		desired.SetCreationTimestamp(metav1.Unix(1, 0))
		desired.SetGeneration(3)
		if diff := cmp.Diff(desired, Unpacked(pack(t, desired))); diff != "" {
			t.Errorf("%s: packing changes it (-want +got):\n%s", desired.GetKind(), diff)
		}
		if !apply.AsDesired(Unpacked(pack(t, desired)), desired) {
			t.Errorf("%s: the written object isn't in sync", desired.GetKind())
		}
		for _, other := range everyChange(desired.Object["spec"]) {
			changed := desired.DeepCopy()
			changed.Object["spec"] = other
			if apply.AsDesired(Unpacked(pack(t, changed)), desired) {
				t.Errorf("%s: in sync with the spec %v", desired.GetKind(), other)
			}
		}
	}
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

// A cache finds the kind by the type, and creates objects and lists by the kind.
func TestASchemeKnowsThePackedKinds(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for _, kind := range Kinds() {
		for _, object := range []runtime.Object{NewIstioObject(kind), newIstioList(kind)} {
			found, err := apiutil.GVKForObject(object, scheme)
			if err != nil {
				t.Fatal(err)
			}
			if found.GroupVersion() != mesh.GroupVersion() || strings.TrimSuffix(found.Kind, "List") != kind {
				t.Errorf("%s is known as %s", kind, found)
			}
			made, err := scheme.New(found)
			if err != nil || reflect.TypeOf(made) != reflect.TypeOf(object) {
				t.Errorf("%s is made as a %T: %v", found, made, err)
			}
		}
	}
}

func TestACopyOfThePackedSharesOnlyWhatNobodyChanges(t *testing.T) {
	object := istioObject(mesh.KindServiceEntry, map[string]any{"hosts": []any{host}})
	object.SetLabels(map[string]string{"app": "a"})
	items := []packed[serviceEntries]{*pack(t, object).(*packed[serviceEntries])}
	for _, original := range []runtime.Object{pack(t, object), &packedList[serviceEntries]{Items: items}} {
		copied := original.DeepCopyObject()
		if diff := cmp.Diff(original, copied); diff != "" {
			t.Errorf("the copy differs (-original +copy):\n%s", diff)
		}
		labeled, ok := copied.(metav1.Object)
		if !ok {
			labeled = &copied.(*packedList[serviceEntries]).Items[0]
		}
		labeled.GetLabels()["app"] = "b"
		if cmp.Diff(original, copied) == "" {
			t.Error("a label of the copy is one of the original")
		}
	}
}
