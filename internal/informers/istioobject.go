package informers

import (
	"encoding/json"
	"fmt"
	"iter"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/mesh"
)

// packed is an Istio object of one kind as the cache stores it: its spec is the JSON text from the
// API server. The text has every field, even if our types don't, and takes a fraction of the memory
// of an unstructured object. It is immutable.
type packed[K istioKind] struct {
	metav1.ObjectMeta `json:"metadata"`

	Spec json.RawMessage `json:"spec,omitempty"`
}

// packedList is a list of packed objects, which the scheme requires.
type packedList[K istioKind] struct {
	metav1.ListMeta `json:"metadata"`

	Items []packed[K] `json:"items"`
}

// istioKind gives each kind a separate Go type, because a scheme finds a kind by its type.
type istioKind interface{ kind() string }

type (
	virtualServices  struct{}
	destinationRules struct{}
	serviceEntries   struct{}
	sidecars         struct{}
)

func (virtualServices) kind() string  { return mesh.KindVirtualService }
func (destinationRules) kind() string { return mesh.KindDestinationRule }
func (serviceEntries) kind() string   { return mesh.KindServiceEntry }
func (sidecars) kind() string         { return mesh.KindSidecar }

// IstioObject is an Istio object of any kind as the cache stores it.
type IstioObject interface {
	client.Object

	// Unpack returns the object without the fields that the cache drops. The result shares no memory
	// with the cache.
	Unpack() (*unstructured.Unstructured, error)
}

// istioList is a packedList of any kind.
type istioList interface {
	client.ObjectList

	objects() iter.Seq[IstioObject]
}

// AddToScheme adds the types that a cache with Options uses for Istio's kinds.
func AddToScheme(scheme *runtime.Scheme) error {
	addKind[virtualServices](scheme)
	addKind[destinationRules](scheme)
	addKind[serviceEntries](scheme)
	addKind[sidecars](scheme)
	metav1.AddToGroupVersion(scheme, mesh.GroupVersion())
	return nil
}

func addKind[K istioKind](scheme *runtime.Scheme) {
	var of K
	scheme.AddKnownTypeWithName(mesh.GroupVersion().WithKind(of.kind()), &packed[K]{})
	scheme.AddKnownTypeWithName(mesh.GroupVersion().WithKind(of.kind()+"List"), &packedList[K]{})
}

// NewIstioObject returns an empty object of a kind, for reads and watches.
func NewIstioObject(kind string) IstioObject {
	switch kind {
	case mesh.KindVirtualService:
		return &packed[virtualServices]{}
	case mesh.KindDestinationRule:
		return &packed[destinationRules]{}
	case mesh.KindServiceEntry:
		return &packed[serviceEntries]{}
	}
	return &packed[sidecars]{}
}

// newIstioList returns an empty list of a kind, for reads.
func newIstioList(kind string) istioList {
	switch kind {
	case mesh.KindVirtualService:
		return &packedList[virtualServices]{}
	case mesh.KindDestinationRule:
		return &packedList[destinationRules]{}
	case mesh.KindServiceEntry:
		return &packedList[serviceEntries]{}
	}
	return &packedList[sidecars]{}
}

// GetObjectKind is part of runtime.Object. The kind is that of the type.
func (*packed[K]) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject is part of runtime.Object.
func (p *packed[K]) DeepCopyObject() runtime.Object {
	copied := &packed[K]{Spec: p.Spec}
	p.DeepCopyInto(&copied.ObjectMeta)
	return copied
}

// GetObjectKind is part of runtime.Object. The kind is that of the type.
func (*packedList[K]) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject is part of runtime.Object.
func (l *packedList[K]) DeepCopyObject() runtime.Object {
	copied := &packedList[K]{}
	l.DeepCopyInto(&copied.ListMeta)
	for i := range l.Items {
		one := packed[K]{Spec: l.Items[i].Spec}
		l.Items[i].DeepCopyInto(&one.ObjectMeta)
		copied.Items = append(copied.Items, one)
	}
	return copied
}

func (l *packedList[K]) objects() iter.Seq[IstioObject] {
	return func(yield func(IstioObject) bool) {
		for i := range l.Items {
			if !yield(&l.Items[i]) {
				return
			}
		}
	}
}

// Unpacked returns a cached object unpacked, or nil if it is not an Istio object.
func Unpacked(object client.Object) *unstructured.Unstructured {
	packed, ok := object.(IstioObject)
	if !ok {
		return nil
	}
	// This can't fail, because the object was parsed from JSON before.
	content, err := packed.Unpack()
	if err != nil {
		return nil
	}
	return content
}

// Unpack is part of IstioObject.
func (p *packed[K]) Unpack() (*unstructured.Unstructured, error) {
	var of K
	metadata, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&p.ObjectMeta)
	if err != nil {
		return nil, fmt.Errorf("read the metadata of the %s %s/%s: %w", of.kind(), p.Namespace, p.Name, err)
	}
	object := mesh.NewUnstructured(of.kind())
	object.Object["metadata"] = metadata
	if p.Spec == nil {
		return object, nil
	}
	var spec any
	if err := utiljson.Unmarshal(p.Spec, &spec); err != nil {
		return nil, fmt.Errorf("read the spec of the %s %s/%s: %w", of.kind(), p.Namespace, p.Name, err)
	}
	object.Object["spec"] = spec
	return object, nil
}
