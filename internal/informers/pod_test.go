package informers

import (
	"context"
	"runtime"
	"slices"
	"testing"
	"time"
	"unique"

	"github.com/google/go-cmp/cmp"
	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"

	"mtls.egress/webhook/internal/egress"
)

func injected(name string, phase corev1.PodPhase) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "project", Name: name, UID: types.UID(name), ResourceVersion: "2",
			CreationTimestamp: metav1.Unix(1, 0), DeletionTimestamp: &metav1.Time{Time: time.Unix(2, 0)},
			Labels: map[string]string{"app": "a", egress.LabelInjected: "true", egress.HostLabel(host): "true"},
			Annotations: map[string]string{
				egress.AnnotationTarget: host, annotation.SidecarUserVolume.Name: "[]", "big": "thing",
			},
			ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: "kubelet"}},
			OwnerReferences: []metav1.OwnerReference{ownedBy("apps/v1", "StatefulSet", "db", "9")},
		},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{
				{Name: egress.ProxyContainer, Image: "proxy", Env: []corev1.EnvVar{{Name: "PASSWORD", Value: "secret"}}},
			},
			Containers: []corev1.Container{{Name: "app", Image: "app"}},
		},
		Status: corev1.PodStatus{Phase: phase, PodIP: "10.0.0.1"},
	}
}

func TestOfAPodIsKeptWhatTheControllerReads(t *testing.T) {
	keep := podTransform(egress.Sinkhole{})
	once, err := keep(injected("app", corev1.PodRunning))
	if err != nil {
		t.Fatal(err)
	}
	want := &Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "project", Name: "app", UID: "app", ResourceVersion: "2",
			CreationTimestamp: metav1.Unix(1, 0), DeletionTimestamp: &metav1.Time{Time: time.Unix(2, 0)},
		},
		content: &podContent{
			labels:      map[string]string{egress.LabelInjected: "true", egress.HostLabel(host): "true"},
			annotations: map[string]string{egress.AnnotationTarget: host, annotation.SidecarUserVolume.Name: "[]"},
			phase:       corev1.PodRunning,
			sidecar:     true,
		},
		owner: unique.Make(metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", UID: "9"}),
	}
	unexported := cmp.AllowUnexported(Pod{}, podContent{}, want.owner)
	if diff := cmp.Diff(any(want), once, unexported); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	twice, err := keep(once)
	if err != nil {
		t.Fatal(err)
	}
	if once != twice {
		t.Errorf("a second transformation changes something:\n%s", cmp.Diff(once, twice, unexported))
	}
	copied := want.DeepCopyObject().(*Pod)
	if diff := cmp.Diff(want, copied, unexported); diff != "" {
		t.Errorf("a copy differs (-want +got):\n%s", diff)
	}
	if copied.DeletionTimestamp == want.DeletionTimestamp {
		t.Error("a copy shares mutable fields")
	}
}

func ownedBy(apiVersion, kind, name string, uid types.UID) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: apiVersion, Kind: kind, Name: name, UID: uid, Controller: new(true), BlockOwnerDeletion: new(true),
	}
}

func TestOwner(t *testing.T) {
	hashed := map[string]string{"pod-template-hash": "5d4f"}
	for name, test := range map[string]struct {
		labels map[string]string
		owners []metav1.OwnerReference
		want   metav1.OwnerReference
	}{
		"no owner": {},
		"an owner without control": {
			owners: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "a", UID: "1"}},
		},
		"a StatefulSet": {
			owners: []metav1.OwnerReference{ownedBy("apps/v1", "StatefulSet", "db", "1")},
			want:   metav1.OwnerReference{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", UID: "1"},
		},
		"the ReplicaSet of a Deployment": {
			labels: hashed, owners: []metav1.OwnerReference{ownedBy("apps/v1", "ReplicaSet", "shop-5d4f", "1")},
			want: metav1.OwnerReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "shop"},
		},
		"a ReplicaSet with another name": {
			labels: hashed, owners: []metav1.OwnerReference{ownedBy("apps/v1", "ReplicaSet", "shop", "1")},
			want: metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "shop", UID: "1"},
		},
		"a ReplicaSet without a Deployment": {
			owners: []metav1.OwnerReference{ownedBy("apps/v1", "ReplicaSet", "shop-", "1")},
			want:   metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "shop-", UID: "1"},
		},
		"another kind with the same name": {
			labels: hashed, owners: []metav1.OwnerReference{ownedBy("example.com/v1", "ReplicaSet", "shop-5d4f", "1")},
			want: metav1.OwnerReference{APIVersion: "example.com/v1", Kind: "ReplicaSet", Name: "shop-5d4f", UID: "1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			metadata := metav1.ObjectMeta{Labels: test.labels, OwnerReferences: test.owners}
			got := NewPod(&corev1.Pod{ObjectMeta: metadata}, egress.Sinkhole{}).Owner()
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestASidecar(t *testing.T) {
	native := []corev1.Container{{Name: egress.ProxyContainer, Image: "proxy"}}
	for name, test := range map[string]struct {
		spec corev1.PodSpec
		want bool
	}{
		"a container":       {corev1.PodSpec{Containers: append([]corev1.Container{{Name: "app"}}, native...)}, true},
		"an init container": {corev1.PodSpec{InitContainers: native, Containers: []corev1.Container{{Name: "app"}}}, true},
		"none":              {corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}, false},
	} {
		if got := newPod(&corev1.Pod{Spec: test.spec}, egress.Sinkhole{}, nil).content.sidecar; got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestPodsOfOneContentShareItAsLongAsThereAreAny(t *testing.T) {
	contents := &podContents{}
	a, b, pending := newPod(injected("a", corev1.PodRunning), egress.Sinkhole{}, contents), newPod(
		injected("b", corev1.PodRunning), egress.Sinkhole{}, contents,
	), newPod(injected("c", corev1.PodPending), egress.Sinkhole{}, contents)
	if a.content != b.content {
		t.Error("two Pods with equal content do not share it")
	}
	if a.content.equal(pending.content) {
		t.Error("a pending Pod shares the content of a running one")
	}
	another := injected("d", corev1.PodRunning)
	another.Annotations[egress.AnnotationSecret] = "own"
	if d := newPod(another, egress.Sinkhole{}, contents); a.content.equal(d.content) {
		t.Error("a Pod that asks for another Secret shares the content of one that doesn't")
	}
	runtime.KeepAlive(a)
	runtime.KeepAlive(b)
	runtime.KeepAlive(pending)
	remembered := func() int {
		contents.mutex.Lock()
		defer contents.mutex.Unlock()
		return len(contents.known)
	}
	for deadline := time.Now().Add(10 * time.Second); remembered() > 0; time.Sleep(time.Millisecond) {
		runtime.GC()
		if time.Now().After(deadline) {
			t.Fatalf("%d contents are kept although no Pod has one", remembered())
		}
	}
}

func TestPodsAreFoundByTheirHosts(t *testing.T) {
	indexer := toolscache.NewIndexer(toolscache.MetaNamespaceKeyFunc, toolscache.Indexers{indexPodLabel: podIndex})
	elsewhere, other := injected("elsewhere", corev1.PodRunning), injected("other", corev1.PodRunning)
	elsewhere.Namespace = "another"
	other.Labels = map[string]string{egress.HostLabel("other.system.com"): "true"}
	for _, one := range kept(*injected("a", corev1.PodRunning), *injected("b", corev1.PodFailed), *elsewhere, *other) {
		if err := indexer.Add(one); err != nil {
			t.Fatal(err)
		}
	}
	cached := &Pods{indexer: indexer, synced: func() bool { return true }}
	names := func(found []*Pod, err error) []string {
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, one := range found {
			names = append(names, one.Namespace+"/"+one.Name)
		}
		slices.Sort(names)
		return names
	}
	if diff := cmp.Diff([]string{"project/a", "project/b"}, names(cached.Of(t.Context(), "project", host))); diff != "" {
		t.Errorf("of a host (-want +got):\n%s", diff)
	}
	all := []string{"another/elsewhere", "project/a", "project/b", "project/other"}
	if diff := cmp.Diff(all, names(cached.All(t.Context()))); diff != "" {
		t.Errorf("all (-want +got):\n%s", diff)
	}
	if found, err := cached.Get(t.Context(), types.NamespacedName{Namespace: "project", Name: "a"}); err != nil ||
		found.Name != "a" {
		t.Errorf("one by name: %v, %v", found, err)
	}
	if found, err := cached.Get(t.Context(), types.NamespacedName{Namespace: "project", Name: "gone"}); err != nil ||
		found != nil {
		t.Errorf("one that doesn't exist: %v, %v", found, err)
	}
}

// A cache that isn't synced must not look like a cluster without Pods.
func TestPodsThatAreNotReadYetAreNotTakenForNone(t *testing.T) {
	unfilled := &Pods{
		indexer: toolscache.NewIndexer(toolscache.MetaNamespaceKeyFunc, toolscache.Indexers{indexPodLabel: podIndex}),
		synced:  func() bool { return false },
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := unfilled.Of(ended, "project", host); err == nil {
		t.Error("no error for those of a host")
	}
	if _, err := unfilled.All(ended); err == nil {
		t.Error("no error for all")
	}
	if _, err := unfilled.Get(ended, types.NamespacedName{Namespace: "project", Name: "a"}); err == nil {
		t.Error("no error for one")
	}
}

// kept returns Pods as the cache stores them.
func kept(all ...corev1.Pod) []*Pod {
	var found []*Pod
	for i := range all {
		found = append(found, newPod(&all[i], egress.Sinkhole{}, nil))
	}
	return found
}
