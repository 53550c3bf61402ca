package controller

import (
	"crypto/sha256"
	"encoding/json"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// repairs remembers what the controller wrote last, for two ends. It counts how often an object was written anew though nothing else was wanted of it than
// before: somebody else had changed or deleted it. And it knows when the cache is behind the controller's own writes, as a write on such a base is refused. What
// was written by an earlier leader isn't known, so a first write is never counted.
type repairs struct {
	counter *prometheus.CounterVec

	mutex sync.Mutex
	last  map[objectKey]lastWrite
}

type objectKey struct{ kind, namespace, name string }

// lastWrite is a digest of what was wanted of an object, the version that it got, and when.
type lastWrite struct {
	wanted          [sha256.Size]byte
	resourceVersion string
	at              time.Time
}

// believed is for how long after a write the cache is taken to be the one that is wrong. An API server that was restored from a backup gives versions that were given before.
const believed = 10 * time.Second

func newRepairs() *repairs {
	r := &repairs{last: map[objectKey]lastWrite{}, counter: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mtls_egress_repairs_total",
		Help: "How often a generated object was put back after somebody else had changed or deleted it, by its kind.",
	}, []string{"kind"})}
	for _, kind := range hostKinds() {
		r.counter.WithLabelValues(kind) // from 0, so that the first one is an increase
	}
	return r
}

// written notes that desired was written and gave object, and says whether that was a repair. A write that changed nothing, because the cache was behind, is none.
func (r *repairs) written(desired, object *unstructured.Unstructured, at time.Time) (repaired bool, err error) {
	wanted, err := wish(desired)
	if err != nil {
		return false, err
	}
	key, now := keyOf(desired), lastWrite{wanted: wanted, resourceVersion: object.GetResourceVersion(), at: at}
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

// behind says whether present, as the cache has it, is older than what was written last.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
func (r *repairs) behind(present *unstructured.Unstructured, at time.Time) bool {
	r.mutex.Lock()
	last, known := r.last[keyOf(present)]
	r.mutex.Unlock()
	if !known || at.Sub(last.at) > believed {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(present.GetResourceVersion(), last.resourceVersion)
	return err == nil && order < 0
}

// age is how long ago an object was written last; as long as can be when this controller never did.
func (r *repairs) age(object *unstructured.Unstructured, at time.Time) time.Duration {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return at.Sub(r.last[keyOf(object)].at)
}

// forget is for an object that is about to be removed: when it is made again, that is no repair.
func (r *repairs) forget(kind, namespace, name string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	delete(r.last, objectKey{kind, namespace, name})
}

func keyOf(object *unstructured.Unstructured) objectKey {
	return objectKey{object.GetKind(), object.GetNamespace(), object.GetName()}
}

// wish is the same for objects of which the same is wanted: keys are sorted in JSON.
func wish(desired *unstructured.Unstructured) ([sha256.Size]byte, error) {
	content, err := json.Marshal([]any{desired.Object["spec"], desired.GetOwnerReferences(), desired.GetLabels()})
	return sha256.Sum256(content), err
}
