package apply

import (
	"crypto/sha256"
	"encoding/json"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/internal/mesh"
)

// repairs counts writes of objects whose desired state did not change, because another client
// changed or deleted them. Writes of an earlier leader are unknown, so the first write of an object
// never counts.
type repairs struct {
	counter *prometheus.CounterVec

	mutex sync.Mutex
	last  map[objectKey]lastWrite
}

type objectKey struct{ kind, namespace, name string }

// lastWrite is the digest of an object's desired state, and the resource version after the write.
type lastWrite struct {
	wanted          [sha256.Size]byte
	resourceVersion string
}

func newRepairs() *repairs {
	r := &repairs{last: map[objectKey]lastWrite{}, counter: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mtls_egress_repairs_total",
		Help: "The number of times that the controller restored a generated object " +
			"that another client had changed or deleted, by kind.",
	}, []string{"kind"})}
	for _, kind := range mesh.HostKinds() {
		r.counter.WithLabelValues(kind) // starts at 0, so that the first repair is an increase
	}
	return r
}

// written records that writing desired resulted in object, and reports whether that was a repair. A
// write that changed nothing because the cache was stale is not a repair.
func (r *repairs) written(desired, object *unstructured.Unstructured) (repaired bool, err error) {
	wanted, err := digest(desired)
	if err != nil {
		return false, err
	}
	key := objectKey{desired.GetKind(), desired.GetNamespace(), desired.GetName()}
	now := lastWrite{wanted: wanted, resourceVersion: object.GetResourceVersion()}
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

// forget drops the record of an object before its deletion, so that creating it again does not
// count as a repair.
func (r *repairs) forget(kind, namespace, name string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	delete(r.last, objectKey{kind, namespace, name})
}

// digest returns equal values for equal desired states, because JSON sorts the keys.
func digest(desired *unstructured.Unstructured) ([sha256.Size]byte, error) {
	content, err := json.Marshal([]any{desired.Object["spec"], desired.GetOwnerReferences(), desired.GetLabels()})
	return sha256.Sum256(content), err
}
