package apply

import (
	"context"
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/mesh"
)

const host = "external.system.com"

// nothing is an API server that has no object.
type nothing struct{ client.Reader }

func (nothing) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

// something is an API server that has every object.
type something struct{ client.Reader }

func (something) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return nil
}

// writes counts what it is asked to write, and writes nothing.
type writes struct {
	client.Client
	count int
}

var errWritten = errors.New("it was written")

// Apply fails, as what it would have to answer is of no concern here.
func (w *writes) Apply(context.Context, runtime.ApplyConfiguration, ...client.ApplyOption) error {
	w.count++
	return errWritten
}

// TestNoObjectIsWrittenOnAnOutdatedCache: such a cache can't be had from a real API server when a test wants it.
func TestNoObjectIsWrittenOnAnOutdatedCache(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	egressTarget := &v1alpha1.EgressTarget{}
	egressTarget.Namespace, egressTarget.Name = "shop", host
	route := virtualService(host, "")
	tests := map[string]struct {
		made  bool
		busy  bool
		live  client.Reader
		want  error
		count int
	}{
		"an object that was made and isn't in the cache":         {made: true, live: something{}, want: ErrCacheBehind},
		"an object that was made, and that somebody has deleted": {made: true, live: nothing{}, want: errWritten, count: 1},
		"an object that another worker writes":                   {busy: true, want: ErrCacheBehind},
		"an object that was never made":                          {want: errWritten, count: 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			written := &writes{}
			w := NewWriter(Writer{
				Cached: func(context.Context, string, string, string) (*unstructured.Unstructured, error) { return nil, nil }, //nolint:nilnil // none is there
				Live:   test.live, Client: written, Clock: clocktesting.NewFakePassiveClock(now), Versions: NewVersions(),
			})
			if test.made {
				w.Versions.Wrote(mesh.KindVirtualService, virtualService(host, "100"), now)
			}
			if test.busy {
				w.Versions.begin(keyOf(mesh.KindVirtualService, route))
			}
			if _, err := w.Ensure(t.Context(), egressTarget, route); !errors.Is(err, test.want) || written.count != test.count {
				t.Errorf("it ends with %v after %d writes, want %v after %d", err, written.count, test.want, test.count)
			}
		})
	}
}
