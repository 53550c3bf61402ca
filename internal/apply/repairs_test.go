package apply

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/internal/mesh"
)

func virtualService(host, version string) *unstructured.Unstructured {
	object := mesh.NewUnstructured(mesh.KindVirtualService)
	object.SetNamespace("shop")
	object.SetName("a")
	object.SetResourceVersion(version)
	object.Object["spec"] = map[string]any{"hosts": []any{host}}
	return object
}

func TestRepairsAreTold(t *testing.T) {
	r := newRepairs()
	for _, step := range []struct {
		what          string
		host, version string
		forget        bool
		want          bool
	}{
		{what: "the first write", host: "a", version: "1"},
		{what: "a write that changed nothing", host: "a", version: "1"},
		{what: "the same again, over another change", host: "a", version: "3", want: true},
		{what: "another desired state", host: "b", version: "4"},
		{what: "after we deleted it", host: "b", version: "6", forget: true},
		{what: "restored again", host: "b", version: "8", want: true},
	} {
		if step.forget {
			r.forget(mesh.KindVirtualService, "shop", "a")
		}
		got, err := r.written(virtualService(step.host, ""), virtualService(step.host, step.version))
		if got != step.want || err != nil {
			t.Errorf("%s: repaired %t, %v, want %t", step.what, got, err, step.want)
		}
	}
}
