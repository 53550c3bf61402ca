package apply

import (
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// Versions remembers which version an object got by the controller's last write, for as long as the cache may not have it.
// It also keeps two workers from writing one object at once.
type Versions struct {
	mutex   sync.Mutex
	last    map[objectKey]version
	swept   time.Time
	written map[objectKey]struct{}
}

// version is what an object has since a write.
type version struct {
	resourceVersion string
	at              time.Time
}

type objectKey struct{ kind, namespace, name string }

// believed is for how long after a write the cache is taken to be the one that is wrong. An API server that was restored from a backup gives versions that were given before.
const believed = 10 * time.Second

// NewVersions returns Versions that remember nothing yet.
func NewVersions() *Versions {
	return &Versions{last: map[objectKey]version{}, written: map[objectKey]struct{}{}}
}

// begin is called before a write of an object that several workers may want to write. It returns false when one of them does; otherwise end has to be called after it.
func (v *Versions) begin(key objectKey) bool {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	_, busy := v.written[key]
	v.written[key] = struct{}{}
	return !busy
}

func (v *Versions) end(key objectKey) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	delete(v.written, key)
}

// Wrote notes the version that an object got by a write, unless a later write was noted before.
func (v *Versions) Wrote(kind string, object metav1.Object, at time.Time) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	if at.Sub(v.swept) > believed {
		for key, last := range v.last {
			if at.Sub(last.at) > believed {
				delete(v.last, key)
			}
		}
		v.swept = at
	}
	key := keyOf(kind, object)
	if last, known := v.last[key]; known && older(object.GetResourceVersion(), last.resourceVersion) && at.Sub(last.at) <= believed {
		return
	}
	v.last[key] = version{object.GetResourceVersion(), at}
}

// older reports whether a version of an object comes before another.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
func older(one, other string) bool {
	order, err := resourceversion.CompareResourceVersion(one, other)
	return err == nil && order < 0
}

// Behind reports whether present, as the cache has it, is older than what was written last: a write on its base would be refused.
func (v *Versions) Behind(kind string, present metav1.Object, at time.Time) bool {
	last, known := v.recent(kind, present, at)
	return known && older(present.GetResourceVersion(), last.resourceVersion)
}

// Age is how long ago an object was written last; as long as can be when that is too long ago to be known.
func (v *Versions) Age(kind string, object metav1.Object, at time.Time) time.Duration {
	last, _ := v.recent(kind, object, at)
	return at.Sub(last.at)
}

// recent is the last write of an object, as long as the cache may not have it.
func (v *Versions) recent(kind string, object metav1.Object, at time.Time) (last version, known bool) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	last, known = v.last[keyOf(kind, object)]
	if at.Sub(last.at) > believed {
		return version{}, false
	}
	return last, known
}

func keyOf(kind string, object metav1.Object) objectKey {
	return objectKey{kind, object.GetNamespace(), object.GetName()}
}
