package informers

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestIstioKindsAreThoseOfTheControllersCache(t *testing.T) {
	version := schema.GroupVersion{Group: "networking.istio.io", Version: "v1"}
	want := []schema.GroupVersionKind{
		version.WithKind(
			"DestinationRule",
		), version.WithKind("ServiceEntry"), version.WithKind("Sidecar"), version.WithKind("VirtualService"),
	}
	if diff := cmp.Diff(want, istioKinds()); diff != "" {
		t.Errorf("kinds differ (-want +got):\n%s", diff)
	}
}

// TestMapperKnowsIstioWithoutItsCRDs checks what the creation of the cache needs.
func TestMapperKnowsIstioWithoutItsCRDs(t *testing.T) {
	empty := meta.NewDefaultRESTMapper(nil)
	mapper := WithIstio(empty)
	resources := map[string]string{}
	for _, kind := range istioKinds() {
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			t.Fatal(err)
		}
		if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
			t.Errorf("%s has the scope %s", kind.Kind, mapping.Scope.Name())
		}
		resources[kind.Kind] = mapping.Resource.Resource
	}
	want := map[string]string{
		"DestinationRule": "destinationrules",
		"ServiceEntry":    "serviceentries",
		"Sidecar":         "sidecars",
		"VirtualService":  "virtualservices",
	}
	if diff := cmp.Diff(want, resources); diff != "" {
		t.Errorf("resources differ (-want +got):\n%s", diff)
	}
	_, err := mapper.RESTMapping(schema.GroupKind{Group: "mtls.egress", Kind: "EgressTarget"})
	if !meta.IsNoMatchError(err) {
		t.Errorf("EgressTarget without its CRD: %v, want no match", err)
	}
}

// failing is the mapper of an unreachable API server.
type failing struct {
	meta.RESTMapper
	err error
}

func (f failing) RESTMapping(schema.GroupKind, ...string) (*meta.RESTMapping, error) {
	return nil, f.err
}

// TestAnAPIServerThatCantBeAskedIsNotOneWithoutAKind checks that an unreachable API server does not
// result in "no match".
func TestAnAPIServerThatCantBeAskedIsNotOneWithoutAKind(t *testing.T) {
	unreachable := errors.New("connection refused")
	mapper := WithIstio(failing{err: unreachable})
	for _, kind := range []schema.GroupKind{
		{Group: "mtls.egress", Kind: "EgressTarget"}, {Group: "cert-manager.io", Kind: "Certificate"},
	} {
		if _, err := mapper.RESTMapping(kind); !errors.Is(err, unreachable) || meta.IsNoMatchError(err) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if _, err := mapper.RESTMapping(istioKinds()[0].GroupKind(), istioKinds()[0].Version); err != nil {
		t.Errorf("a kind of Istio: %v", err)
	}
}

func TestMissingKinds(t *testing.T) {
	all := []string{"ServiceEntry", "VirtualService", "DestinationRule", "Sidecar", "Gateway"}
	unreachable := errors.New("unreachable")
	missing := func(kinds ...string) []string {
		var found []string
		for _, kind := range kinds {
			found = append(found, kind+" in networking.istio.io/v1")
		}
		return found
	}
	tests := map[string]struct {
		served []string
		err    error
		want   []string
		fails  error
	}{
		"all are served": {served: all},
		"some are": {
			served: []string{"ServiceEntry", "DestinationRule"}, want: missing("Sidecar", "VirtualService"),
		},
		"none is, but the group is": {want: missing("DestinationRule", "ServiceEntry", "Sidecar", "VirtualService")},
		"the group isn't": {
			err:  apierrors.NewNotFound(schema.GroupResource{}, ""),
			want: missing("DestinationRule", "ServiceEntry", "Sidecar", "VirtualService"),
		},
		"an unreachable API server": {err: unreachable, fails: unreachable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := MissingKinds(func(groupVersion string) (*metav1.APIResourceList, error) {
				list := &metav1.APIResourceList{GroupVersion: groupVersion}
				for _, kind := range test.served {
					list.APIResources = append(list.APIResources, metav1.APIResource{Kind: kind})
				}
				return list, test.err
			})
			if !errors.Is(err, test.fails) {
				t.Errorf("error %v, want %v", err, test.fails)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("missing (-want +got):\n%s", diff)
			}
		})
	}
}
