package informers

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"mtls.egress/webhook/internal/mesh"
)

// Kinds returns the Istio kinds of a cache with Options.
func Kinds() []string { return append(mesh.HostKinds(), mesh.KindSidecar) }

// istioKinds returns the same kinds with group and version, sorted.
func istioKinds() []schema.GroupVersionKind {
	var kinds []schema.GroupVersionKind
	for _, kind := range Kinds() {
		kinds = append(kinds, mesh.GroupVersion().WithKind(kind))
	}
	slices.SortFunc(kinds, func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
	return kinds
}

// MapperProvider returns the REST mapper of a manager whose cache has Options. See WithIstio.
func MapperProvider(config *rest.Config, client *http.Client) (meta.RESTMapper, error) {
	discovered, err := apiutil.NewDynamicRESTMapper(config, client)
	if err != nil {
		return nil, err
	}
	return WithIstio(discovered), nil
}

// WithIstio returns a mapper that knows Istio's kinds even if their CRDs are not installed.
// Otherwise the cache could not be created in a cluster without Istio's CRDs.
func WithIstio(mapper meta.RESTMapper) meta.RESTMapper {
	known := meta.NewDefaultRESTMapper(nil)
	for _, kind := range istioKinds() {
		known.Add(kind, meta.RESTScopeNamespace)
	}
	return istioMapper{mapper, known}
}

// istioMapper is a mapper with static kinds. It only returns errors of the dynamic mapper.
// meta.FirstHitRESTMapper would join them with the "no match" of the static one, so that an
// unreachable API server would look like one without the kind.
type istioMapper struct {
	meta.RESTMapper
	known meta.RESTMapper
}

// RESTMapping is part of meta.RESTMapper.
func (m istioMapper) RESTMapping(kind schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	mapping, err := m.RESTMapper.RESTMapping(kind, versions...)
	if err == nil {
		return mapping, nil
	}
	if mapping, unknown := m.known.RESTMapping(kind, versions...); unknown == nil {
		return mapping, nil
	}
	return nil, err
}

// MissingKinds returns the Istio kinds that the API server does not serve, as "Kind in
// group/version". serverResources returns the kinds of a group and version, like discovery's
// ServerResourcesForGroupVersion.
func MissingKinds(serverResources func(groupVersion string) (*metav1.APIResourceList, error)) ([]string, error) {
	groupVersion := mesh.GroupVersion()
	resources, err := serverResources(groupVersion.String())
	if apierrors.IsNotFound(err) {
		resources, err = &metav1.APIResourceList{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("asking for the resources of %s: %w", groupVersion, err)
	}
	var missing []string
	for _, kind := range slices.Sorted(slices.Values(Kinds())) {
		isKind := func(served metav1.APIResource) bool { return served.Kind == kind }
		if !slices.ContainsFunc(resources.APIResources, isKind) {
			missing = append(missing, fmt.Sprintf("%s in %s", kind, groupVersion))
		}
	}
	return missing, nil
}
