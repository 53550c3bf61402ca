package controller

import (
	"reflect"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// repairs counts how often an object was written anew though nothing else was wanted of it than before: somebody else had changed or deleted it. What was
// written by an earlier leader isn't known, so a first write is never counted.
type repairs struct {
	counter *prometheus.CounterVec

	mutex sync.Mutex
	last  map[objectKey]lastWrite
}

type objectKey struct{ kind, namespace, name string }

// lastWrite is what was wanted of an object, and the version that it got.
type lastWrite struct {
	spec, owners, labels any
	resourceVersion      string
}

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
func (r *repairs) written(desired, object *unstructured.Unstructured) bool {
	key := objectKey{desired.GetKind(), desired.GetNamespace(), desired.GetName()}
	now := lastWrite{spec: desired.Object["spec"], owners: desired.GetOwnerReferences(), labels: desired.GetLabels(), resourceVersion: object.GetResourceVersion()}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	before, known := r.last[key]
	r.last[key] = now
	repaired := known && before.resourceVersion != now.resourceVersion && reflect.DeepEqual(before.spec, now.spec) &&
		reflect.DeepEqual(before.owners, now.owners) && reflect.DeepEqual(before.labels, now.labels)
	if repaired {
		r.counter.WithLabelValues(key.kind).Inc()
	}
	return repaired
}

// forget is for an object that is about to be removed: when it is made again, that is no repair.
func (r *repairs) forget(kind, namespace, name string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	delete(r.last, objectKey{kind, namespace, name})
}
