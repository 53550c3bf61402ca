package informers

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

func TestKeepIstioObject(t *testing.T) {
	tests := map[string]struct {
		gateways []any
		owned    bool
		spec     bool
	}{
		"a VirtualService of sidecars":           {nil, false, true},
		"a VirtualService of gateways":           {[]any{"ingress"}, false, false},
		"our own that a user bound to a gateway": {[]any{"ingress"}, true, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			object := istioObject(mesh.KindVirtualService, map[string]any{"hosts": []any{host}})
			if test.gateways != nil {
				object.Object["spec"].(map[string]any)["gateways"] = test.gateways
			}
			object.SetLabels(map[string]string{egress.LabelManagedBy: egress.ValueManagedBy})
			if test.owned {
				object.SetOwnerReferences([]metav1.OwnerReference{mesh.OwnerReference(&v1alpha1.EgressTarget{}, true)})
			}
			want := object.DeepCopy()
			if !test.spec {
				delete(want.Object, "spec")
			}
			object.SetAnnotations(map[string]string{"big": "thing"})
			object.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "kubectl"}})
			object.Object["status"] = map[string]any{"conditions": nil}
			once, err := transformIstioObject(object)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, once); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			twice, err := transformIstioObject(object.DeepCopy())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(once, twice); diff != "" {
				t.Errorf("a second transformation changes something:\n%s", diff)
			}
		})
	}
}
