package apply

import (
	"crypto/sha256"
	"encoding/json"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/internal/mesh"
)

// repairs counts how often an object was written anew though nothing else was wanted of it than
// before: somebody else had changed or deleted it. What was written by an earlier leader isn't
// known, so a first write is never counted.
type repairs struct {
	counter *prometheus.CounterVec

	mutex sync.Mutex
	last  map[objectKey]lastWrite
}

type objectKey struct{ kind, namespace, name string }

// lastWrite is a digest of what was wanted of an object, and the version that it got.
type lastWrite struct {
	wanted          [sha256.Size]byte
	resourceVersion string
}

func newRepairs() *repairs {
	r := &repairs{last: map[objectKey]lastWrite{}, counter: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mtls_egress_repairs_total",
		Help: "The number of times that the controller restored a generated object that another client had changed or deleted, by kind.",
	}, []string{"kind"})}
	for _, kind := range mesh.HostKinds() {
		r.counter.WithLabelValues(kind) // from 0, so that the first one is an increase
	}
	return r
}

// written notes that desired was written and gave object, and reports whether that was a repair. A
// write that changed nothing, because the cache was behind, is none.
func (r *repairs) written(desired, object *unstructured.Unstructured) (repaired bool, err error) {
	wanted, err := digest(desired)
	if err != nil {
		return false, err
	}
	key, now := objectKey{desired.GetKind(), desired.GetNamespace(), desired.GetName()}, lastWrite{wanted: wanted, resourceVersion: object.GetResourceVersion()}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	before, known := r.last[key]
	r.last[key] = now
	repaired = known && before.resourceVersion != now.resourceVersion && before.wanted == now.wanted
	if repaired {
		r.counter.WithLabelValues(key.kind).Inc()
	}
	return repaired, nil
}

// forget is for an object that is about to be removed: when it is made again, that is no repair.
func (r *repairs) forget(kind, namespace, name string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	delete(r.last, objectKey{kind, namespace, name})
}

// digest is the same for objects of which the same is wanted: keys are sorted in JSON.
func digest(desired *unstructured.Unstructured) ([sha256.Size]byte, error) {
	content, err := json.Marshal([]any{desired.Object["spec"], desired.GetOwnerReferences(), desired.GetLabels()})
	return sha256.Sum256(content), err
}
