package apply

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/mesh"
)

const host = "external.system.com"

// nothing is a reader without objects.
type nothing struct{ client.Reader }

func (nothing) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

// something is a reader that has every object.
type something struct{ client.Reader }

func (something) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return nil
}

// holding is an API server that has one object.
type holding struct {
	client.Reader

	object *unstructured.Unstructured
}

func (h holding) Get(
	_ context.Context, _ client.ObjectKey, object client.Object, _ ...client.GetOption,
) error {
	h.object.DeepCopyInto(object.(*unstructured.Unstructured))
	return nil
}

// write is the part of a write that the tests compare.
type write struct {
	UID, ResourceVersion string
	Forced               bool
}

// writes records writes without making them.
type writes struct {
	client.Client
	all []write
}

var errWritten = errors.New("it was written")

// Apply always fails, because the tests don't need its response.
func (w *writes) Apply(
	_ context.Context, configuration runtime.ApplyConfiguration, options ...client.ApplyOption,
) error {
	text, err := json.Marshal(configuration)
	if err != nil {
		return err
	}
	var object metav1.PartialObjectMetadata
	if err := json.Unmarshal(text, &object); err != nil {
		return err
	}
	var all client.ApplyOptions
	all.ApplyOptions(options)
	w.all = append(w.all, write{string(object.UID), object.ResourceVersion, all.Force != nil && *all.Force})
	return errWritten
}

// TestWritesAreBoundToWhatWasRead uses fakes, because a real API server can't produce a stale cache
// on demand.
func TestWritesAreBoundToWhatWasRead(t *testing.T) {
	egressTarget := &v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: host, UID: "1"}}
	cached := func(kind string) *unstructured.Unstructured {
		object := mesh.NewUnstructured(kind)
		object.SetUID("a")
		object.SetResourceVersion("7")
		object.SetOwnerReferences([]metav1.OwnerReference{mesh.OwnerReference(egressTarget, true)})
		return object
	}
	anchorOf := func(context.Context, metav1.Object) (*networkingv1.ServiceEntry, error) {
		return mesh.Anchor("shop", nil), nil
	}
	anchor := func(w *Writer) error {
		_, err := w.ensureAnchor(t.Context(), egressTarget, anchorOf)
		return err
	}
	release := func(w *Writer) error {
		_, err := w.releaseAnchor(t.Context(), egressTarget, anchorOf)
		return err
	}
	object := func(w *Writer) error {
		_, err := w.ensure(t.Context(), egressTarget, virtualService(host, ""))
		return err
	}
	tests := map[string]struct {
		cached bool
		live   client.Reader
		ensure func(*Writer) error
		err    error
		want   []write
	}{
		"an object that the cache has": {
			cached: true, ensure: object, err: errWritten, want: []write{{"a", "7", true}},
		},
		"an object that is not in the cache and may exist": {ensure: object, err: errWritten, want: []write{{}}},
		"an anchor that does not exist": {
			live: nothing{}, ensure: anchor, err: errWritten, want: []write{{}},
		},
		"an anchor that is not in the cache yet": {
			live: something{}, ensure: anchor, err: errCacheBehind,
		},
		"an anchor that others need and that is not in the cache yet": {
			live: holding{object: cached(mesh.KindServiceEntry)}, ensure: release, err: errWritten,
			want: []write{{"a", "7", true}},
		},
		"an anchor that the cache has": {
			cached: true, ensure: anchor, err: errWritten, want: []write{{"a", "7", true}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			written := &writes{}
			w := NewWriter(Writer{Live: test.live, Client: written})
			w.Cached = func(_ context.Context, kind, _, name string) (*unstructured.Unstructured, error) {
				if !test.cached {
					return nil, nil //nolint:nilnil // it doesn't exist
				}
				object := cached(kind)
				object.SetName(name)
				return object, nil
			}
			if err := test.ensure(w); !errors.Is(err, test.err) {
				t.Errorf("error %v, want %v", err, test.err)
			}
			if diff := cmp.Diff(test.want, written.all); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
