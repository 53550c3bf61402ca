package controller

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"weak"

	"istio.io/api/annotation"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"mtls.egress/webhook/internal/target"
)

// pod is what the cache holds of a Pod. As a corev1.Pod, of which nearly everything is empty, it takes five times the memory. Its metadata has a name and dates; labels and
// annotations are those of its look.
type pod struct {
	metav1.ObjectMeta

	look *podLook
}

// podLook is what is the same for all Pods of a Deployment, of which they share one. Nobody changes it.
type podLook struct {
	labels, annotations map[string]string
	phase               corev1.PodPhase
	// sidecar says whether there is one, as a container or, as a native one, among the init containers.
	sidecar bool
}

// GetLabels is part of metav1.Object.
func (p *pod) GetLabels() map[string]string { return p.look.labels }

// GetAnnotations is part of metav1.Object.
func (p *pod) GetAnnotations() map[string]string { return p.look.annotations }

// GetObjectKind is part of runtime.Object.
func (*pod) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject is part of runtime.Object.
func (p *pod) DeepCopyObject() kruntime.Object {
	copied := &pod{look: p.look}
	p.DeepCopyInto(&copied.ObjectMeta)
	return copied
}

// Ended reports whether all containers have ended, for good.
func (p *pod) Ended() bool {
	return p.look.phase == corev1.PodSucceeded || p.look.phase == corev1.PodFailed
}

// equal says whether Pods with the two looks are the same to the controller.
func (l *podLook) equal(other *podLook) bool {
	return l == other || l.phase == other.phase && l.sidecar == other.sidecar && maps.Equal(l.labels, other.labels) && maps.Equal(l.annotations, other.annotations)
}

// keptPod leaves of a Pod what the controller reads. The same text is kept once.
func keptPod(from *corev1.Pod, looks *podLooks) *pod {
	look := &podLook{
		phase:   corev1.PodPhase(target.Once(string(from.Status.Phase))),
		sidecar: slices.ContainsFunc(from.Spec.Containers, isProxy) || slices.ContainsFunc(from.Spec.InitContainers, isProxy),
	}
	for name, value := range from.Labels {
		if name == target.LabelRealised || strings.HasPrefix(name, target.LabelHostPrefix) {
			look.labels = with(look.labels, target.Once(name), target.Once(value))
		}
	}
	// The volumes of its sidecar say what a running Pod mounts, whatever the EgressTarget says by now.
	for _, name := range []string{target.AnnotationTarget, target.AnnotationSecret, annotation.SidecarUserVolume.Name, label.IoIstioRev.Name} {
		if value, found := from.Annotations[name]; found {
			look.annotations = with(look.annotations, name, target.Once(value))
		}
	}
	return &pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:              from.Name,
			Namespace:         target.Once(from.Namespace),
			UID:               from.UID,
			ResourceVersion:   from.ResourceVersion,
			CreationTimestamp: from.CreationTimestamp,
			DeletionTimestamp: from.DeletionTimestamp,
		},
		look: looks.one(look),
	}
}

func with(texts map[string]string, name, value string) map[string]string {
	if texts == nil {
		texts = map[string]string{}
	}
	texts[name] = value
	return texts
}

// isProxy says whether a container is the sidecar.
func isProxy(container corev1.Container) bool { return container.Name == target.ProxyContainer }

// podKeeper makes pods of the Pods that come.
func podKeeper() toolscache.TransformFunc {
	looks := &podLooks{}
	return func(object any) (any, error) {
		if from, ok := object.(*corev1.Pod); ok {
			return keptPod(from, looks), nil
		}
		return object, nil
	}
}

// podLooks remembers the looks that Pods have, each as long as one has it. The zero value is ready to use, nil remembers nothing.
type podLooks struct {
	mutex sync.Mutex
	known map[[sha256.Size]byte]weak.Pointer[podLook]
}

// one returns the look that is known for one like it.
func (l *podLooks) one(like *podLook) *podLook {
	if l == nil {
		return like
	}
	// Maps are written in the order of their keys.
	key := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %t", like.labels, like.annotations, like.phase, like.sidecar))
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if known := l.known[key].Value(); known != nil {
		return known
	}
	if l.known == nil {
		l.known = map[[sha256.Size]byte]weak.Pointer[podLook]{}
	}
	l.known[key] = weak.Make(like)
	runtime.AddCleanup(like, l.forget, key)
	return like
}

func (l *podLooks) forget(key [sha256.Size]byte) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.known[key].Value() == nil { // else one like it has come since
		delete(l.known, key)
	}
}

// pods are those of the cache. Reading them from it as a client would copies each.
type pods struct {
	indexer toolscache.Indexer
	synced  func() bool
}

// newPods has the cache read Pods, and index them by the hosts that they ask for.
func newPods(ctx context.Context, from cache.Cache) (*pods, error) {
	informer, err := from.GetInformer(ctx, &corev1.Pod{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("read Pods: %w", err)
	}
	shared, ok := informer.(toolscache.SharedIndexInformer)
	if !ok {
		return nil, fmt.Errorf("read Pods: the cache gives a %T, which can't be looked into", informer)
	}
	if err := shared.AddIndexers(toolscache.Indexers{indexPodLabel: podIndex}); err != nil {
		return nil, fmt.Errorf("index Pods: %w", err)
	}
	return &pods{indexer: shared.GetIndexer(), synced: shared.HasSynced}, nil
}

// podIndex are the places of a pod in the index.
func podIndex(object any) ([]string, error) {
	pod, ok := object.(*pod)
	if !ok {
		return nil, fmt.Errorf("a %T is no Pod as the cache holds it", object)
	}
	labels := podLabels(pod)
	for n := range labels {
		labels[n] = podPlace(pod.Namespace, labels[n])
	}
	return labels, nil
}

func podPlace(namespace, label string) string { return namespace + "/" + label }

// of returns the Pods of the namespace that carry the label of the host.
func (p *pods) of(ctx context.Context, namespace, host string) ([]*pod, error) {
	if err := p.wait(ctx); err != nil {
		return nil, err
	}
	found, err := p.indexer.ByIndex(indexPodLabel, podPlace(namespace, target.HostLabel(host)))
	if err != nil {
		return nil, fmt.Errorf("look for the Pods of %s: %w", host, err)
	}
	return asPods(found), nil
}

// all returns every Pod.
func (p *pods) all(ctx context.Context) ([]*pod, error) {
	if err := p.wait(ctx); err != nil {
		return nil, err
	}
	return asPods(p.indexer.List()), nil
}

// get returns one Pod, nil when there is none.
func (p *pods) get(ctx context.Context, key types.NamespacedName) (*pod, error) {
	if err := p.wait(ctx); err != nil {
		return nil, err
	}
	object, _, err := p.indexer.GetByKey(key.String())
	if err != nil {
		return nil, fmt.Errorf("look for the Pod %s: %w", key, err)
	}
	found, _ := object.(*pod)
	return found, nil
}

// wait returns when the Pods of the beginning are there.
func (p *pods) wait(ctx context.Context) error {
	if !p.synced() && !toolscache.WaitForCacheSync(ctx.Done(), p.synced) {
		return errors.New("the Pods are not read yet")
	}
	return nil
}

func asPods(objects []any) []*pod {
	found := make([]*pod, 0, len(objects))
	for _, object := range objects {
		if pod, ok := object.(*pod); ok {
			found = append(found, pod)
		}
	}
	return found
}
