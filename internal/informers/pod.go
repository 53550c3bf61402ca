package informers

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
	"unique"
	"weak"

	"istio.io/api/annotation"
	"istio.io/api/label"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/egress"
)

// Pod is a Pod as the cache stores it: name, timestamps, our labels and annotations, phase, its
// sidecar, its owner, and unusual sinkhole addresses. A corev1.Pod with only these fields takes
// five times the memory.
type Pod struct {
	metav1.ObjectMeta

	content *podContent
	// owner is not part of content, because Pods of several ReplicaSets and Jobs have equal contents.
	owner unique.Handle[metav1.OwnerReference]
}

// podContent is the part that is equal in all Pods of a Deployment, which share it. It is
// immutable.
type podContent struct {
	labels, annotations map[string]string
	phase               corev1.PodPhase
	// sidecar reports whether the containers or, for a native sidecar, the init containers include the
	// sidecar.
	sidecar bool
	// proxyVersion is the Istio version of the sidecar, or "".
	proxyVersion string
	// addresses are the addresses of hosts of the Pod that are not those in the first range of the
	// sinkhole addresses. Nearly no Pod has any.
	addresses map[string]string
}

// GetLabels is part of metav1.Object.
func (p *Pod) GetLabels() map[string]string { return p.content.labels }

// GetAnnotations is part of metav1.Object.
func (p *Pod) GetAnnotations() map[string]string { return p.content.annotations }

// GetObjectKind is part of runtime.Object.
func (*Pod) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject is part of runtime.Object.
func (p *Pod) DeepCopyObject() kruntime.Object {
	copied := &Pod{content: p.content, owner: p.owner}
	p.DeepCopyInto(&copied.ObjectMeta)
	return copied
}

// Ended reports whether all containers have terminated and won't restart.
func (p *Pod) Ended() bool {
	return p.content.phase == corev1.PodSucceeded || p.content.phase == corev1.PodFailed
}

// HasSidecar reports whether the Pod has a sidecar. It never changes, because Istio injects the
// sidecar only at admission.
func (p *Pod) HasSidecar() bool { return p.content.sidecar }

// ProxyVersion is the Istio version of the sidecar, or "" if it is unknown.
func (p *Pod) ProxyVersion() string { return p.content.proxyVersion }

// SinkholeAddress is the address that the host has inside the Pod, in the notation of the Pod's
// host aliases, or "" if it is the one that the first range gives the host, or if the Pod has
// none.
func (p *Pod) SinkholeAddress(host string) string { return p.content.addresses[host] }

// Owner is the owner that controls the Pod, without Controller and BlockOwnerDeletion, or the zero
// value. For the ReplicaSet of a Deployment, it is the Deployment, whose UID is unknown and empty.
func (p *Pod) Owner() metav1.OwnerReference { return p.owner.Value() }

// Content identifies the labels, annotations, phase, sidecar and addresses. Pods of the cache with
// equal ones share them.
func (p *Pod) Content() any { return p.content }

// SameContent reports whether two Pods are equal for the controller, except for their metadata.
func (p *Pod) SameContent(other *Pod) bool { return p.content.equal(other.content) }

func (c *podContent) equal(other *podContent) bool {
	return c == other || c.phase == other.phase && c.sidecar == other.sidecar && c.proxyVersion == other.proxyVersion &&
		maps.Equal(c.labels, other.labels) && maps.Equal(c.annotations, other.annotations) &&
		maps.Equal(c.addresses, other.addresses)
}

// NewPod returns the fields of a Pod that the controller reads. sinkhole are the ranges of the
// sinkhole addresses.
func NewPod(from *corev1.Pod, sinkhole egress.Sinkhole) *Pod { return newPod(from, sinkhole, nil) }

// newPod is NewPod with a content that is shared through contents.
func newPod(from *corev1.Pod, sinkhole egress.Sinkhole, contents *podContents) *Pod {
	content := &podContent{
		phase:   corev1.PodPhase(egress.Once(string(from.Status.Phase))),
		sidecar: egress.HasSidecar(from), proxyVersion: egress.Once(egress.ProxyVersion(from)),
	}
	for name, value := range from.Labels {
		if name == egress.LabelInjected || strings.HasPrefix(name, egress.LabelHostPrefix) {
			content.labels = with(content.labels, egress.Once(name), egress.Once(value))
		}
	}
	// The annotation for the sidecar's volumes shows what a running Pod mounts, even if the
	// EgressTarget has changed since.
	for _, name := range []string{
		egress.AnnotationTarget, egress.AnnotationSecret, annotation.SidecarUserVolume.Name, label.IoIstioRev.Name,
	} {
		if value, found := from.Annotations[name]; found {
			content.annotations = with(content.annotations, name, egress.Once(value))
		}
	}
	for _, alias := range from.Spec.HostAliases {
		for _, host := range alias.Hostnames {
			if _, injected := from.Labels[egress.HostLabel(host)]; injected && alias.IP != sinkhole.Address(host).String() {
				content.addresses = with(content.addresses, egress.Once(host), egress.Once(alias.IP))
			}
		}
	}
	return &Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:              from.Name,
			Namespace:         egress.Once(from.Namespace),
			UID:               from.UID,
			ResourceVersion:   from.ResourceVersion,
			CreationTimestamp: from.CreationTimestamp,
			DeletionTimestamp: from.DeletionTimestamp,
		},
		content: contents.intern(content),
		owner:   unique.Make(podOwner(from)),
	}
}

// podOwner returns the owner for Pod.Owner. The ReplicaSet of a Deployment has the name of the
// Deployment and the hash that its Pods have as a label:
// https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#pod-template-hash-label
func podOwner(from *corev1.Pod) metav1.OwnerReference {
	controller := metav1.GetControllerOfNoCopy(from)
	if controller == nil {
		return metav1.OwnerReference{}
	}
	owner := metav1.OwnerReference{
		APIVersion: egress.Once(controller.APIVersion), Kind: egress.Once(controller.Kind),
		Name: controller.Name, UID: controller.UID,
	}
	hash := from.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	name, named := strings.CutSuffix(owner.Name, "-"+hash)
	if owner.APIVersion == appsv1.SchemeGroupVersion.String() && owner.Kind == "ReplicaSet" && hash != "" && named {
		owner.Kind, owner.Name, owner.UID = "Deployment", name, ""
	}
	return owner
}

func with(texts map[string]string, name, value string) map[string]string {
	if texts == nil {
		texts = map[string]string{}
	}
	texts[name] = value
	return texts
}

// HostLabels returns the keys of the host labels of a Pod.
func HostLabels(object client.Object) []string {
	var keys []string
	for key := range object.GetLabels() {
		if strings.HasPrefix(key, egress.LabelHostPrefix) {
			keys = append(keys, key)
		}
	}
	return keys
}

// PodHosts returns the hosts that a Pod may affect: those in its annotations, and those in its
// labels, because the annotations of a running Pod can be edited. A shortened label does not
// contain the host. It is harmless, because no Pod asks for the host that it seems to contain.
func PodHosts(pod client.Object) []string {
	// A Pod with invalid annotations was not injected from them, but its labels count.
	intent, _, _ := egress.ParseIntent(pod.GetAnnotations(), field.NewPath("metadata", "annotations"))
	hosts := intent.Hosts()
	for _, key := range HostLabels(pod) {
		hosts = append(hosts, strings.TrimPrefix(key, egress.LabelHostPrefix))
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// podTransform returns the transform that stores Pods as Pod.
func podTransform(sinkhole egress.Sinkhole) toolscache.TransformFunc {
	contents := &podContents{}
	return func(object any) (any, error) {
		if from, ok := object.(*corev1.Pod); ok {
			return newPod(from, sinkhole, contents), nil
		}
		return object, nil
	}
}

// podContents interns the contents of Pods, and drops each content with its last Pod. The zero
// value is ready to use. nil interns nothing.
type podContents struct {
	mutex sync.Mutex
	known map[[sha256.Size]byte]weak.Pointer[podContent]
}

// intern returns the interned content that equals like.
func (c *podContents) intern(like *podContent) *podContent {
	if c == nil {
		return like
	}
	// fmt prints maps in the order of their keys.
	key := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %t %q %q",
		like.labels, like.annotations, like.phase, like.sidecar, like.proxyVersion, like.addresses))
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if known := c.known[key].Value(); known != nil {
		return known
	}
	if c.known == nil {
		c.known = map[[sha256.Size]byte]weak.Pointer[podContent]{}
	}
	c.known[key] = weak.Make(like)
	runtime.AddCleanup(like, c.forget, key)
	return like
}

func (c *podContents) forget(key [sha256.Size]byte) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.known[key].Value() == nil { // otherwise an equal one was interned since
		delete(c.known, key)
	}
}

// Pods reads the Pods of the cache without the deep copies that a client makes.
type Pods struct {
	indexer toolscache.Indexer
	synced  func() bool
}

// NewPods returns the Pods in an indexer with objects of type Pod. synced reports whether the
// initial list of Pods is complete.
func NewPods(indexer toolscache.Indexer, synced func() bool) *Pods {
	return &Pods{indexer: indexer, synced: synced}
}

// watchPods adds an informer of Pods to the cache, with an index by host. It does not wait for the
// initial list.
func watchPods(ctx context.Context, from cache.Cache) (*Pods, error) {
	informer, err := from.GetInformer(ctx, &corev1.Pod{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("read Pods: %w", err)
	}
	shared, ok := informer.(toolscache.SharedIndexInformer)
	if !ok {
		return nil, fmt.Errorf("read Pods: the cache returned a %T, which is not a SharedIndexInformer", informer)
	}
	if err := shared.AddIndexers(toolscache.Indexers{indexPodLabel: podIndex}); err != nil {
		return nil, fmt.Errorf("index Pods: %w", err)
	}
	return NewPods(shared.GetIndexer(), shared.HasSynced), nil
}

// podIndex returns the index keys of a Pod.
func podIndex(object any) ([]string, error) {
	pod, ok := object.(*Pod)
	if !ok {
		return nil, fmt.Errorf("a %T is not a cached Pod", object)
	}
	labels := HostLabels(pod)
	for n := range labels {
		labels[n] = podIndexKey(pod.Namespace, labels[n])
	}
	return labels, nil
}

func podIndexKey(namespace, label string) string { return namespace + "/" + label }

// Of returns the Pods of the namespace with the label of the host. It waits for the initial list of
// Pods.
func (p *Pods) Of(ctx context.Context, namespace, host string) ([]*Pod, error) {
	if err := p.wait(ctx); err != nil {
		return nil, err
	}
	found, err := p.indexer.ByIndex(indexPodLabel, podIndexKey(namespace, egress.HostLabel(host)))
	if err != nil {
		return nil, fmt.Errorf("look for the Pods of %s: %w", host, err)
	}
	return asPods(found), nil
}

// All returns all Pods. It waits for the initial list of Pods.
func (p *Pods) All(ctx context.Context) ([]*Pod, error) {
	if err := p.wait(ctx); err != nil {
		return nil, err
	}
	return asPods(p.indexer.List()), nil
}

// Get returns one Pod, or nil if it doesn't exist. It waits for the initial list of Pods.
func (p *Pods) Get(ctx context.Context, key types.NamespacedName) (*Pod, error) {
	if err := p.wait(ctx); err != nil {
		return nil, err
	}
	object, _, err := p.indexer.GetByKey(key.String())
	if err != nil {
		return nil, fmt.Errorf("look for the Pod %s: %w", key, err)
	}
	found, _ := object.(*Pod)
	return found, nil
}

// wait returns when the initial list of Pods is complete, or ctx is done.
func (p *Pods) wait(ctx context.Context) error {
	if !p.synced() && !toolscache.WaitForCacheSync(ctx.Done(), p.synced) {
		return errors.New("the cache of Pods is not synced yet")
	}
	return nil
}

func asPods(objects []any) []*Pod {
	found := make([]*Pod, 0, len(objects))
	for _, object := range objects {
		if pod, ok := object.(*Pod); ok {
			found = append(found, pod)
		}
	}
	return found
}
