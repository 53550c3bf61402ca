package informers

import (
	"testing"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/internal/mesh"
)

// A newer Istio may have fields and values that our types don't have.
func TestTypedLeavesOutWhatCanNotBeRead(t *testing.T) {
	known := istioObject(mesh.KindServiceEntry, map[string]any{"hosts": []any{host}, "newField": "x"})
	if got := typed[networkingv1.ServiceEntry](t.Context(), known); len(got) != 1 || got[0].Spec.GetHosts()[0] != host {
		t.Errorf("an unknown field made %v of it", got)
	}
	unknown := istioObject(mesh.KindServiceEntry, map[string]any{"hosts": []any{host}, "location": "MESH_SOMEWHERE"})
	if got := typed[networkingv1.ServiceEntry](t.Context(), unknown); len(got) != 0 {
		t.Errorf("an unknown location was read as %v", got)
	}
}
