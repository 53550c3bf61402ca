package cli

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"mtls.egress/webhook/internal/informers"
)

func kinds(t *testing.T) []schema.GroupVersionKind {
	t.Helper()
	scheme, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	found, err := istioKinds(informers.Options(), scheme)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestIstioKindsAreThoseOfTheControllersCache(t *testing.T) {
	version := schema.GroupVersion{Group: "networking.istio.io", Version: "v1"}
	want := []schema.GroupVersionKind{
		version.WithKind("DestinationRule"), version.WithKind("ServiceEntry"), version.WithKind("Sidecar"), version.WithKind("VirtualService"),
	}
	if diff := cmp.Diff(want, kinds(t)); diff != "" {
		t.Errorf("kinds differ (-want +got):\n%s", diff)
	}
}

// TestMapperKnowsIstioWithoutItsCRDs: else no cache could be made.
func TestMapperKnowsIstioWithoutItsCRDs(t *testing.T) {
	empty := meta.NewDefaultRESTMapper(nil)
	mapper := withIstio(empty, kinds(t))
	resources := map[string]string{}
	for _, kind := range kinds(t) {
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			t.Fatal(err)
		}
		if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
			t.Errorf("%s has the scope %s", kind.Kind, mapping.Scope.Name())
		}
		resources[kind.Kind] = mapping.Resource.Resource
	}
	want := map[string]string{"DestinationRule": "destinationrules", "ServiceEntry": "serviceentries", "Sidecar": "sidecars", "VirtualService": "virtualservices"}
	if diff := cmp.Diff(want, resources); diff != "" {
		t.Errorf("resources differ (-want +got):\n%s", diff)
	}
	if _, err := mapper.RESTMapping(schema.GroupKind{Group: "mtls.egress", Kind: "EgressTarget"}); !meta.IsNoMatchError(err) {
		t.Errorf("EgressTarget without its CRD: %v, want no match", err)
	}
}

// failing is a mapper of an API server that can't be asked.
type failing struct {
	meta.RESTMapper
	err error
}

func (f failing) RESTMapping(schema.GroupKind, ...string) (*meta.RESTMapping, error) {
	return nil, f.err
}

// TestAnAPIServerThatCantBeAskedIsNotOneWithoutAKind: "no match" is the answer of an API server.
func TestAnAPIServerThatCantBeAskedIsNotOneWithoutAKind(t *testing.T) {
	unreachable := errors.New("connection refused")
	mapper := withIstio(failing{err: unreachable}, kinds(t))
	for _, kind := range []schema.GroupKind{{Group: "mtls.egress", Kind: "EgressTarget"}, {Group: "cert-manager.io", Kind: "Certificate"}} {
		if _, err := mapper.RESTMapping(kind); !errors.Is(err, unreachable) || meta.IsNoMatchError(err) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if _, err := mapper.RESTMapping(kinds(t)[0].GroupKind(), kinds(t)[0].Version); err != nil {
		t.Errorf("a kind that is known unasked: %v", err)
	}
}

func TestControllerWaitsForIstiosCRDs(t *testing.T) {
	full := []string{"ServiceEntry", "VirtualService", "DestinationRule", "Sidecar", "Gateway"}
	unreachable, broken := errors.New("unreachable"), errors.New("broken")
	type reply struct {
		kinds []string
		err   error
	}
	notFound := apierrors.NewNotFound(schema.GroupResource{}, "")
	const (
		none = `"msg"="Istio's CRDs are missing; the controller waits for them. Annotated Pods are realised, but their calls fail until it can program ` +
			`their targets. Install Istio 1.22 or newer" "error"=null "missing"=["DestinationRule in networking.istio.io/v1" "ServiceEntry in networking.istio.io/v1" ` +
			`"Sidecar in networking.istio.io/v1" "VirtualService in networking.istio.io/v1"] "retryAfter"="10s"`
		some = `"msg"="Istio's CRDs are missing; the controller waits for them. Annotated Pods are realised, but their calls fail until it can program ` +
			`their targets. Install Istio 1.22 or newer" "error"=null "missing"=["Sidecar in networking.istio.io/v1" "VirtualService in networking.istio.io/v1"] "retryAfter"="10s"`
		unknown = `"msg"="Can't find out whether Istio's CRDs are installed; the controller waits, admission works" ` +
			`"error"="asking for the resources of networking.istio.io/v1: unreachable" "retryAfter"="10s"`
		added = `"level"=0 "msg"="Istio's CRDs are installed, adding the controller"`
	)
	tests := map[string]struct {
		replies []reply
		fails   error
		want    error
		logged  []string
		starts  int
		after   time.Duration
	}{
		"all are there":                 {replies: []reply{{kinds: full}}, logged: []string{added}, starts: 1},
		"they come one after the other": {replies: []reply{{err: notFound}, {}, {kinds: []string{"ServiceEntry", "DestinationRule"}}, {kinds: full}}, logged: []string{none, none, some, added}, starts: 1, after: 3 * crdInterval},
		"nobody answers at first":       {replies: []reply{{err: unreachable}, {kinds: full}}, logged: []string{unknown, added}, starts: 1, after: crdInterval},
		"a start that fails is told":    {replies: []reply{{kinds: full}}, fails: broken, want: broken, logged: []string{added}, starts: 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, lines := recorder()
				asked, starts := 0, 0
				begin := time.Now()
				wait := &crdWait{
					kinds: kinds(t),
					serverResources: func(groupVersion string) (*metav1.APIResourceList, error) {
						reply := test.replies[asked]
						asked++
						list := &metav1.APIResourceList{GroupVersion: groupVersion}
						for _, kind := range reply.kinds {
							list.APIResources = append(list.APIResources, metav1.APIResource{Kind: kind})
						}
						return list, reply.err
					},
					interval: crdInterval,
					start:    func(context.Context) error { starts++; return test.fails },
					log:      log,
				}
				if err := wait.Start(t.Context()); !errors.Is(err, test.want) {
					t.Errorf("error %v, want %v", err, test.want)
				}
				if diff := cmp.Diff(test.logged, lines()); diff != "" {
					t.Errorf("log differs (-want +got):\n%s", diff)
				}
				if starts != test.starts || time.Since(begin) != test.after {
					t.Errorf("%d starts after %s, want %d after %s", starts, time.Since(begin), test.starts, test.after)
				}
			})
		})
	}
}

func TestWaitForIstiosCRDsEndsWithTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		wait := &crdWait{
			kinds:           kinds(t),
			serverResources: func(string) (*metav1.APIResourceList, error) { return &metav1.APIResourceList{}, nil },
			interval:        crdInterval,
			start:           func(context.Context) error { t.Error("started without CRDs"); return nil },
			log:             logr.Discard(),
		}
		go func() { ended <- wait.Start(ctx) }()
		time.Sleep(time.Hour)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
