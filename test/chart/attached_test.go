package chart

import (
	"fmt"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/internal/mesh"
)

// attached is an object of the Gateway API that is attached to objects, each a kind and a name.
func attached(namespace, kind string, to ...[2]string) *unstructured.Unstructured {
	var references []any
	for _, each := range to {
		group := "networking.istio.io"
		if each[0] == mesh.KindService {
			group = ""
		}
		references = append(references, map[string]any{"group": group, "kind": each[0], "name": each[1]})
	}
	field, rules := "parentRefs", []any{
		map[string]any{"backendRefs": []any{map[string]any{"name": "relay", "port": int64(80)}}},
	}
	spec := map[string]any{"rules": rules}
	switch kind {
	case "TLSRoute":
		spec["hostnames"] = []any{"external.system.com"}
	case "BackendTLSPolicy":
		field = "targetRefs"
		spec = map[string]any{
			"validation": map[string]any{"hostname": "relay.example.com", "wellKnownCACertificates": "System"},
		}
	}
	spec[field] = references
	object := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	object.SetAPIVersion("gateway.networking.k8s.io/v1")
	object.SetKind(kind)
	object.SetNamespace(namespace)
	object.SetName("theirs")
	return object
}

func testAttached(t *testing.T, c cluster) {
	const entry = mesh.KindServiceEntry
	plurals := map[string]string{
		"HTTPRoute": "httproutes", "GRPCRoute": "grpcroutes", "TLSRoute": "tlsroutes", "TCPRoute": "tcproutes",
		"BackendTLSPolicy": "backendtlspolicies",
	}
	off := map[string]string{"mtls.egress/protection": "off"}
	theirs, listener := [2]string{entry, "theirs"}, [2]string{entry, "mtls-egress--app.external.system.com"}
	tests := map[string]struct {
		labels map[string]string
		listed bool // whether the namespace is in the chart's value policy.exemptNamespaces
		// before is what the object is attached to that is updated, which was written while the
		// protection was off.
		before, to [][2]string
		// want are the ServiceEntries that the refusal names, "" without one.
		want string
	}{
		"a ServiceEntry of others":        {to: [][2]string{theirs}},
		"one whose name begins nearly so": {to: [][2]string{{entry, "mtls-egresses"}}},
		"a Service":                       {to: [][2]string{{mesh.KindService, "mtls-egress"}}},
		"the listener of a target":        {to: [][2]string{listener}, want: listener[1]},
		"the ServiceEntry of a target, and others": {
			to:   [][2]string{theirs, {entry, "mtls-egress-a.com"}},
			want: "mtls-egress-a.com",
		},
		"the anchor": {to: [][2]string{{entry, "mtls-egress"}}, want: "mtls-egress"},
		"the listener, where the protection is off":   {labels: off, listed: true, to: [][2]string{listener}},
		"the listener, where the label alone says so": {labels: off, to: [][2]string{listener}, want: listener[1]},
		"the listener, where it was before": {
			labels: off,
			listed: true,
			before: [][2]string{listener},
			to:     [][2]string{listener, theirs},
		},
	}
	number, listed := 0, 0
	for name, test := range tests {
		for kind, plural := range plurals {
			number++
			in := fmt.Sprintf("attached-%d", number)
			if test.listed {
				in = exemptNamespace("attached", listed)
				listed++
			}
			t.Run(name+": "+kind, func(t *testing.T) {
				c.namespace(t, in, test.labels)
				user := c.as(t, "team-admin")
				object := attached(in, kind, test.to...)
				var err error
				if test.before != nil {
					object = attached(in, kind, test.before...)
					if err := user.Create(t.Context(), object); err != nil {
						t.Fatal(err)
					}
					c.kubectl(t, "label", "namespace", in, "mtls.egress/protection-")
					changed := attached(in, kind, test.to...)
					changed.SetResourceVersion(object.GetResourceVersion())
					err = user.Update(t.Context(), changed)
				} else {
					err = user.Create(t.Context(), object)
				}
				want := ""
				if test.want != "" {
					want = fmt.Sprintf(
						`%s.gateway.networking.k8s.io "theirs" is forbidden: ValidatingAdmissionPolicy '%s' with binding '%s' denied `+
							`request: %s theirs is attached to the ServiceEntry %s, which is generated from an EgressTarget: Istio could `+
							`use it instead of the generated objects, so calls could fail or leave in plain text. Attach it to another `+
							`ServiceEntry, and configure calls to the partner in the EgressTarget. %s`,
						plural, attachedPolicy, attachedPolicy, kind, test.want, wayAround(in, test.labels, test.listed),
					)
				}
				if diff := gocmp.Diff(want, message(err)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

const attachedPolicy = "mtls-egress-webhook-attached"
