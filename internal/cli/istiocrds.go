package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// istioGroup is the API group of the Istio objects that the controller reads and writes.
const istioGroup = "networking.istio.io"

// istioKinds returns the Istio kinds that a cache is made for.
func istioKinds(options cache.Options, scheme *runtime.Scheme) ([]schema.GroupVersionKind, error) {
	var kinds []schema.GroupVersionKind
	for object := range options.ByObject {
		kind, err := apiutil.GVKForObject(object, scheme)
		if err != nil {
			return nil, err
		}
		if kind.Group == istioGroup {
			kinds = append(kinds, kind)
		}
	}
	slices.SortFunc(kinds, func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
	return kinds, nil
}

// withIstio returns a mapper that knows namespaced kinds also while no CRD serves them. Otherwise no cache could be made in a
// cluster without Istio's CRDs, and admission needs the cache.
func withIstio(mapper meta.RESTMapper, kinds []schema.GroupVersionKind) meta.RESTMapper {
	known := meta.NewDefaultRESTMapper(nil)
	for _, kind := range kinds {
		known.Add(kind, meta.RESTScopeNamespace)
	}
	return istioMapper{mapper, known}
}

// istioMapper is a mapper with kinds that it knows unasked. Its errors are those of the mapper alone: meta.FirstHitRESTMapper would join them with
// the "no match" of the other, so that an API server that can't be reached looks like one that doesn't have the kind.
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

// crdWait adds the controller to the manager of a leader once Istio's CRDs are there. An ordinary start, with the controller from the beginning, would end
// with an error after two minutes without the CRDs (CacheSyncTimeout). Pods that are realised before the controller runs are safe: their calls fail.
type crdWait struct {
	// kinds have to be served.
	kinds []schema.GroupVersionKind
	// serverResources asks the API server for the kinds of a group and version, such as discovery's
	// ServerResourcesForGroupVersion.
	serverResources func(groupVersion string) (*metav1.APIResourceList, error)
	// interval is the time between two questions.
	interval time.Duration
	// start adds the controller.
	start func(context.Context) error
	log   logr.Logger
}

// NeedLeaderElection is true: only the leader fills its caches.
func (w *crdWait) NeedLeaderElection() bool { return true }

// Start returns when the controller is added, or ctx ended.
func (w *crdWait) Start(ctx context.Context) error {
	for {
		missing, err := missingKinds(w.kinds, w.serverResources)
		switch {
		case err != nil:
			w.log.Error(err, "Can't find out whether Istio's CRDs are installed; the controller waits, admission works", "retryAfter", w.interval.String())
		case len(missing) > 0:
			w.log.Error(nil, "Istio's CRDs are missing; the controller waits for them. Annotated Pods are realised, but their calls "+
				"fail until it can program their targets. Install Istio 1.22 or newer", "missing", missing, "retryAfter", w.interval.String())
		default:
			w.log.Info("Istio's CRDs are installed, adding the controller")
			if err := w.start(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("adding the controller: %w", err)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(w.interval):
		}
	}
}

// missingKinds returns those of kinds that the API server does not serve, as "Kind in group/version".
func missingKinds(kinds []schema.GroupVersionKind, serverResources func(groupVersion string) (*metav1.APIResourceList, error)) ([]string, error) {
	served := map[schema.GroupVersionKind]bool{}
	asked := map[schema.GroupVersion]bool{}
	var missing []string
	for _, kind := range kinds {
		groupVersion := kind.GroupVersion()
		if !asked[groupVersion] {
			asked[groupVersion] = true
			resources, err := serverResources(groupVersion.String())
			if apierrors.IsNotFound(err) {
				resources, err = &metav1.APIResourceList{}, nil
			}
			if err != nil {
				return nil, fmt.Errorf("asking for the resources of %s: %w", groupVersion, err)
			}
			for _, resource := range resources.APIResources {
				served[groupVersion.WithKind(resource.Kind)] = true
			}
		}
		if !served[kind] {
			missing = append(missing, fmt.Sprintf("%s in %s", kind.Kind, groupVersion))
		}
	}
	return missing, nil
}
