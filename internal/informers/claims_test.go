package informers

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

func istioObject(kind string, spec map[string]any) *unstructured.Unstructured {
	object := mesh.NewUnstructured(kind)
	object.SetNamespace("project")
	object.Object["spec"] = spec
	return object
}

func TestClaims(t *testing.T) {
	ours := istioObject(mesh.KindServiceEntry, map[string]any{"hosts": []any{host}, "addresses": []any{"241.0.0.1"}})
	ours.SetOwnerReferences([]metav1.OwnerReference{mesh.OwnerReference(&v1alpha1.EgressTarget{}, true)})
	tests := map[string]struct {
		object *unstructured.Unstructured
		want   []string
	}{
		"the host of a DestinationRule": {
			istioObject(mesh.KindDestinationRule, map[string]any{"host": "External.System.com"}), []string{host},
		},
		"the hosts of a VirtualService": {
			istioObject(mesh.KindVirtualService, map[string]any{"hosts": []any{host, "*.system.com", "*"}}),
			[]string{"*", "*.system.com", host},
		},
		"a host with a trailing dot": {
			istioObject(mesh.KindVirtualService, map[string]any{"hosts": []any{host + "."}}), []string{host},
		},
		"a wildcard within a label is widened": {
			istioObject(mesh.KindServiceEntry, map[string]any{"hosts": []any{"*-api.system.com", "*com"}}),
			[]string{"*", "*.system.com"},
		},
		"a VirtualService of gateways only": {
			istioObject(mesh.KindVirtualService, map[string]any{"hosts": []any{host}, "gateways": []any{"ingress"}}),
			nil,
		},
		"a VirtualService of a gateway and the mesh": {
			istioObject(mesh.KindVirtualService, map[string]any{"hosts": []any{host}, "gateways": []any{"ingress", "mesh"}}),
			[]string{host},
		},
		"addresses of class E": {
			istioObject(
				mesh.KindServiceEntry, map[string]any{"hosts": []any{"a.b"}, "addresses": []any{"10.0.0.1", "250.1.2.3"}},
			),
			[]string{"a.b", claimSinkhole},
		},
		"a prefix over class E": {
			istioObject(mesh.KindServiceEntry, map[string]any{"hosts": []any{"a.b"}, "addresses": []any{"0.0.0.0/0"}}),
			[]string{"a.b", claimSinkhole},
		},
		"other addresses": {
			istioObject(
				mesh.KindServiceEntry, map[string]any{"hosts": []any{"a.b"}, "addresses": []any{"10.0.0.0/8", "2001:db8::1", "x"}},
			),
			[]string{"a.b"},
		},
		"an address of class E as IPv6": {
			istioObject(mesh.KindServiceEntry, map[string]any{"hosts": []any{"a.b"}, "addresses": []any{"::ffff:250.1.2.3"}}),
			[]string{"a.b", claimSinkhole},
		},
		"an address of ours": {ours, []string{host, claimSinkhole}},
		"an object that does not conform to the CRD": {
			istioObject(mesh.KindServiceEntry, map[string]any{"hosts": "a.b", "addresses": "250.1.2.3"}), nil,
		},
		"a DestinationRule without a host": {istioObject(mesh.KindDestinationRule, map[string]any{}), nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, claims(test.object, egress.Sinkhole{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Objects that are read by name need no claim. All others need one, regardless of their owner.
func TestClaimsToFind(t *testing.T) {
	const other = "other.system.com"
	private := []any{"."}
	object := func(kind, name string, spec map[string]any) *unstructured.Unstructured {
		content := istioObject(kind, spec)
		content.SetName(name)
		of, _ := egress.ObjectHost(name)
		content.SetOwnerReferences(
			[]metav1.OwnerReference{mesh.OwnerReference(&v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: of}}, true)},
		)
		return content
	}
	sinkhole := egress.Sinkhole{}.Address(host).String()
	for name, test := range map[string]struct {
		object *unstructured.Unstructured
		want   []string
	}{
		"a generated VirtualService": {
			object(mesh.KindVirtualService, egress.ObjectName(host), map[string]any{
				"exportTo": private, "hosts": []any{host, host + ".", egress.MeshHost(host)},
			}),
			[]string{},
		},
		"a generated ServiceEntry": {
			object(mesh.KindServiceEntry, egress.ObjectName(host), map[string]any{
				"exportTo": private, "hosts": []any{egress.MeshHost(host)}, "addresses": []any{sinkhole},
			}),
			[]string{},
		},
		"a generated listener": {
			object(mesh.KindServiceEntry, egress.ListenerName(host), map[string]any{
				"exportTo": private, "hosts": []any{egress.ListenerHost(host, 80)}, "addresses": []any{sinkhole},
			}),
			[]string{},
		},
		"a generated VirtualService for another app port": {
			object(mesh.KindVirtualService, egress.ObjectName(host), map[string]any{"exportTo": private, "hosts": []any{
				host, host + ".", egress.MeshHost(host), egress.ListenerHost(host, 8080), egress.AnchorHost,
			}}),
			[]string{},
		},
		"an anchor": {
			object(mesh.KindServiceEntry, egress.AnchorName, map[string]any{
				"exportTo": private, "hosts": []any{egress.AnchorHost},
			}),
			[]string{},
		},
		"another object for the hosts of listener and anchor": {
			object(mesh.KindServiceEntry, "theirs", map[string]any{
				"exportTo": private, "hosts": []any{egress.ListenerHost(host, 80), egress.AnchorHost},
			}),
			[]string{egress.AnchorHost, egress.MeshHost(host)},
		},
		"a ServiceEntry for MySQL without an address": {
			object(mesh.KindServiceEntry, "theirs", map[string]any{"hosts": []any{"db.example.com"}, "ports": []any{
				map[string]any{"number": int64(80), "protocol": "MYSQL"},
			}}),
			[]string{"db.example.com", "server-first:80"},
		},
		"a generated object to which a user added hosts": {
			object(mesh.KindVirtualService, egress.ObjectName(host), map[string]any{
				"exportTo": private, "hosts": []any{host, "*.com", other},
			}),
			[]string{"*.com", other},
		},
		"a generated object to which a user added the address of another": {
			object(mesh.KindServiceEntry, egress.ObjectName(host), map[string]any{
				"exportTo": private, "hosts": []any{egress.MeshHost(host)}, "addresses": []any{sinkhole, "250.1.2.3"},
			}),
			[]string{claimSinkhole},
		},
		"an object with the name of a generated one that is exported": {
			object(mesh.KindServiceEntry, egress.ObjectName(host), map[string]any{
				"hosts": []any{host}, "addresses": []any{sinkhole},
			}),
			[]string{host, claimSinkhole},
		},
		"one of another host": {
			object(mesh.KindVirtualService, egress.ObjectName(other), map[string]any{"exportTo": private, "hosts": []any{host}}),
			[]string{host},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, claimsToFind(egress.Sinkhole{})(test.object)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Every pattern that matches the host in Istio must have a claim that concerns the host.
func TestEveryClaimOnAHostConcernsIt(t *testing.T) {
	for _, pattern := range []string{
		egress.MeshHost(host), egress.ListenerHost(host, 8081), egress.AnchorHost,
		"external.system.com", "EXTERNAL.system.com",
		"*.system.com", "*.com", "*", "*nal.system.com", "*system.com", "*-x.com", "*m",
	} {
		object := istioObject(mesh.KindServiceEntry, map[string]any{"hosts": []any{pattern}})
		for _, claim := range claims(object, egress.Sinkhole{}) {
			if !slices.Contains(concerns(host), claim) {
				t.Errorf("%s has the claim %s, which is not in %v", pattern, claim, concerns(host))
			}
		}
	}
}

func TestReachesOthers(t *testing.T) {
	exportedTo := func(namespaces ...any) *unstructured.Unstructured {
		return istioObject(mesh.KindServiceEntry, map[string]any{"exportTo": namespaces})
	}
	ours := istioObject(mesh.KindServiceEntry, nil)
	ours.SetOwnerReferences([]metav1.OwnerReference{mesh.OwnerReference(&v1alpha1.EgressTarget{}, true)})
	tests := map[string]struct {
		object *unstructured.Unstructured
		want   bool
	}{
		"no exportTo":                           {istioObject(mesh.KindServiceEntry, map[string]any{}), true},
		"all namespaces":                        {exportedTo(".", "*"), true},
		"another namespace":                     {exportedTo("other"), true},
		"its own as a dot":                      {exportedTo("."), false},
		"its own by name":                       {exportedTo("project"), false},
		"no namespace":                          {exportedTo("~"), false},
		"one with an EgressTarget as its owner": {ours, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := ReachesOthers(test.object); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestPodHosts(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Labels:      map[string]string{egress.LabelInjected: "true", egress.HostLabel(host): "true", "app": "a"},
		Annotations: map[string]string{egress.AnnotationTarget: "other.system.com:8443, " + host},
	}}
	if diff := cmp.Diff([]string{host, "other.system.com"}, PodHosts(pod)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	pod.Annotations = nil
	if diff := cmp.Diff([]string{host}, PodHosts(pod)); diff != "" {
		t.Errorf("after the annotation was taken away (-want +got):\n%s", diff)
	}
}
