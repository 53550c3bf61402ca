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
		{what: "the same once more, over something else", host: "a", version: "3", want: true},
		{what: "another wish", host: "b", version: "4"},
		{what: "after we removed it", host: "b", version: "6", forget: true},
		{what: "put back again", host: "b", version: "8", want: true},
	} {
		if step.forget {
			r.forget(mesh.KindVirtualService, "shop", "a")
		}
		if got, err := r.written(virtualService(step.host, ""), virtualService(step.host, step.version)); got != step.want || err != nil {
			t.Errorf("%s: repaired %t, %v, want %t", step.what, got, err, step.want)
		}
	}
}
