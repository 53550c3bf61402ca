package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/test/await"
)

func TestFirstUseCreatesTheTargetAndItsObjectsInOrder(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	w.start(controller.Options{})
	w.pod("app", host+":8443")

	egressTarget := w.ready()
	want := &v1alpha1.EgressTarget{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace, Name: host,
			Labels:     map[string]string{egress.LabelManagedBy: egress.ValueManagedBy},
			Finalizers: []string{egress.Finalizer},
		},
		Spec: v1alpha1.EgressTargetSpec{Port: 8443, AppPort: 80},
		Status: v1alpha1.EgressTargetStatus{
			ObservedGeneration: 1,
			Conditions: []metav1.Condition{
				{
					Type:               "Ready",
					Status:             "True",
					ObservedGeneration: 1,
					Reason:             "Ready",
					Message:            "calls to the host use mutual TLS",
				},
				{
					Type:               "CredentialValid",
					Status:             "True",
					ObservedGeneration: 1,
					Reason:             "Valid",
					Message:            "the client certificate is valid: external-system-mtls-data until 2120-01-01T00:00:00Z",
				},
				{
					Type:               "Programmed",
					Status:             "True",
					ObservedGeneration: 1,
					Reason:             "Programmed",
					Message:            "the anchor, listener, VirtualService, DestinationRule and ServiceEntry are in sync",
				},
				{
					Type:               "Conflicted",
					Status:             "False",
					ObservedGeneration: 1,
					Reason:             "NoConflict",
					Message:            "no conflicting Istio objects",
				},
				{
					Type:               "PodsOutdated",
					Status:             "False",
					ObservedGeneration: 1,
					Reason:             "PodsUpToDate",
					Message:            "all Pods are up to date",
				},
			},
			Credentials: []v1alpha1.CredentialStatus{{
				SecretName: secret, Pods: 1, Subject: "CN=orders", Issuer: "CN=partner CA",
				NotAfter: &metav1.Time{Time: time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC)},
				ServerCA: &v1alpha1.ServerCAStatus{
					Subject: "CN=partner CA", NotAfter: &metav1.Time{Time: time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC)},
				},
			}},
			NotAfter: &metav1.Time{Time: time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC)},
			Pods:     1,
			PodLabel: "to.mtls.egress/external.system.com",
			Address:  egress.Sinkhole{}.Address(host).String(),
		},
	}
	if diff := cmp.Diff(want, egressTarget,
		cmpopts.IgnoreFields(metav1.ObjectMeta{}, "UID", "ResourceVersion", "Generation",
			"CreationTimestamp", "ManagedFields"),
		cmpopts.IgnoreFields(metav1.TypeMeta{}, "Kind", "APIVersion"),
		cmpopts.IgnoreFields(metav1.Condition{}, "LastTransitionTime"),
		cmpopts.IgnoreFields(v1alpha1.CredentialStatus{}, "SerialNumber", "SHA256"),
		cmpopts.IgnoreFields(v1alpha1.ServerCAStatus{}, "SerialNumber")); diff != "" {
		t.Errorf("the EgressTarget (+) isn't as wanted (-):\n%s", diff)
	}

	wanted := egress.FromEgressTarget(w.namespace, host, egressTarget, egress.Sinkhole{})
	w.programmed(w.wantSpecs(wanted, egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"}))
	last := 0
	for i, o := range generated() {
		content, err := w.istio(o.kind, o.name)
		if err != nil {
			t.Fatal(err)
		}
		version, err := strconv.Atoi(content.GetResourceVersion())
		if err != nil {
			t.Fatal(err)
		}
		if version <= last {
			t.Errorf("%v was written at %d, before the one that has to come first (%d)", o, version, last)
		}
		last = version
		owner := metav1.OwnerReference{
			APIVersion: "mtls.egress/v1alpha1",
			Kind:       "EgressTarget",
			Name:       host,
			UID:        egressTarget.UID,
		}
		if i > 0 {
			yes := true
			owner.Controller = &yes
		}
		if diff := cmp.Diff([]metav1.OwnerReference{owner}, content.GetOwnerReferences()); diff != "" {
			t.Errorf("the owners of %v (+) aren't as wanted (-):\n%s", o, diff)
		}
		managers := content.GetManagedFields()
		if len(managers) != 1 || managers[0].Manager != controller.FieldManager ||
			managers[0].Operation != metav1.ManagedFieldsOperationApply {
			t.Errorf("%v was written by %v, want server-side apply by %s alone", o, managers, controller.FieldManager)
		}
	}
	if events := w.events(egressTarget); len(events) > 0 {
		t.Errorf("there are events about a target that was good from the beginning: %q", events)
	}
}

func TestTenPodsShareAHostAndTheLastOneTakesTheObjectsAlong(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	w.start(controller.Options{TargetRetention: time.Second})
	removals := w.watchRemovals()
	pods := make([]*corev1.Pod, 10)
	for i := range pods {
		pods[i] = w.pod(fmt.Sprintf("app-%d", i), host)
	}
	w.ready()
	w.programmed(w.defaultSpecs())
	for _, pod := range pods[1:] {
		w.remove(pod)
	}
	await.Eventually(w, "", func() error {
		egressTarget, err := w.egressTarget()
		if err != nil || egressTarget.Status.Pods != 1 {
			return fmt.Errorf("%d Pods are counted, want 1 (error %w)", egressTarget.Status.Pods, err)
		}
		return nil
	})
	if removed := removals(); len(removed) > 0 {
		t.Fatalf("a Pod is left, but %v went", removed)
	}

	w.remove(pods[0])
	w.gone()
	want := slices.Clone(generated())
	slices.Reverse(want)
	await.Eventually(w, "", func() error {
		if diff := cmp.Diff(want, removals(), cmp.AllowUnexported(object{})); diff != "" {
			return fmt.Errorf("the objects went in another order (+) than wanted (-):\n%s", diff)
		}
		return nil
	})
}

// watchRemovals returns a function that lists the objects removed so far, in the order in which the
// API server removed them.
func (w *world) watchRemovals() func() []object {
	w.Helper()
	dynamicClient, err := dynamic.NewForConfig(server.Config)
	if err != nil {
		w.Fatal(err)
	}
	var mutex sync.Mutex
	versions := map[object]int{}
	for _, kind := range []string{mesh.KindServiceEntry, mesh.KindVirtualService, mesh.KindDestinationRule} {
		mapping, err := w.RESTMapper().
			RESTMapping(mesh.GroupVersion().WithKind(kind).GroupKind(), mesh.GroupVersion().Version)
		if err != nil {
			w.Fatal(err)
		}
		ctx, cancel := context.WithCancel(w.Context())
		watcher, err := dynamicClient.Resource(mapping.Resource).Namespace(w.namespace).Watch(ctx, metav1.ListOptions{})
		if err != nil {
			w.Fatal(err)
		}
		w.Cleanup(func() { watcher.Stop(); cancel() })
		go func() {
			for e := range watcher.ResultChan() {
				content, ok := e.Object.(*unstructured.Unstructured)
				if !ok || e.Type != watch.Deleted {
					continue
				}
				version, err := strconv.Atoi(content.GetResourceVersion())
				if err != nil {
					w.Errorf("resource version %q: %v", content.GetResourceVersion(), err)
				}
				mutex.Lock()
				versions[object{kind, content.GetName()}] = version
				mutex.Unlock()
			}
		}()
	}
	return func() []object {
		mutex.Lock()
		defer mutex.Unlock()
		removed := []object{}
		for o := range versions {
			removed = append(removed, o)
		}
		slices.SortFunc(removed, func(a, b object) int { return versions[a] - versions[b] })
		return removed
	}
}

func TestAPodThatComesBackKeepsTheTarget(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	w.start(controller.Options{TargetRetention: time.Hour})
	pod := w.pod("app", host)
	w.ready()
	w.remove(pod)
	await.Eventually(w, "", func() error {
		egressTarget, err := w.egressTarget()
		if err != nil || egressTarget.Status.UnusedSince == nil {
			return fmt.Errorf("the EgressTarget isn't known to be unused (error %w)", err)
		}
		return nil
	})
	w.pod("app-2", host)
	await.Eventually(w, "", func() error {
		egressTarget, err := w.egressTarget()
		if err != nil || egressTarget.Status.UnusedSince != nil || egressTarget.Status.Pods != 1 {
			return fmt.Errorf("the EgressTarget isn't known to be used: %+v (error %w)", egressTarget.Status, err)
		}
		return nil
	})
	w.programmed(w.defaultSpecs())
}

func TestWhatAUserWroteIsNeverRemoved(t *testing.T) {
	tests := map[string]func(w *world){
		"an EgressTarget that the user created": func(w *world) {
			w.create(&v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: host}})
			w.ready()
		},
		"an EgressTarget with the controller's label that the user created": func(w *world) {
			w.create(
				&v1alpha1.EgressTarget{
					ObjectMeta: metav1.ObjectMeta{Name: host, Labels: map[string]string{egress.LabelManagedBy: egress.ValueManagedBy}},
				},
			)
			w.ready()
		},
		"one of the controller's that the user annotated": func(w *world) {
			pod := w.pod("app", host)
			w.patch(w.ready(), map[string]any{"metadata": map[string]any{"annotations": map[string]any{"note": "mine"}}})
			w.remove(pod)
		},
		"one of the controller's to which the user applied his own": func(w *world) {
			pod := w.pod("app", host)
			w.patch(w.ready(), map[string]any{"spec": map[string]any{"sni": "sni.system.com"}})
			w.remove(pod)
		},
	}
	for name, setUp := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.credential(secret)
			w.start(controller.Options{TargetRetention: time.Nanosecond})
			setUp(w)
			await.Eventually(w, "", func() error {
				egressTarget, err := w.egressTarget()
				if err != nil || egressTarget.Status.Pods != 0 ||
					egressTarget.Status.ObservedGeneration != egressTarget.Generation {
					return fmt.Errorf("not seen without Pods: %+v (error %w)", egressTarget.Status, err)
				}
				return nil
			})
			egressTarget := w.ready()
			if !egressTarget.DeletionTimestamp.IsZero() || egressTarget.Status.UnusedSince != nil {
				t.Errorf("the user's EgressTarget is about to go: deleted %v, unused since %v",
					egressTarget.DeletionTimestamp, egressTarget.Status.UnusedSince)
			}
			if len(w.specs()) != len(generated()) {
				t.Errorf("the objects of the user's EgressTarget are %v, want all of them", w.specs())
			}
		})
	}
}

func TestADeletedTargetKeepsItsObjectsWhilePodsLive(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	w.create(&v1alpha1.EgressTarget{ObjectMeta: metav1.ObjectMeta{Name: host}})
	w.start(controller.Options{})
	pod := w.pod("app", host, func(pod *corev1.Pod) { pod.Finalizers = []string{"test.mtls.egress/terminating"} })
	w.ready()
	await.Eventually(w, "", func() error {
		egressTarget, err := w.egressTarget()
		if err != nil || egressTarget.Status.Pods != 1 {
			return fmt.Errorf("the Pod isn't counted (error %w)", err)
		}
		return nil
	})
	removals := w.watchRemovals()

	// Foreground, as Argo CD deletes.
	egressTarget := w.ready()
	if err := w.Delete(
		t.Context(), egressTarget, client.PropagationPolicy(metav1.DeletePropagationForeground),
	); err != nil {
		t.Fatal(err)
	}
	w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionTrue, "DeletionPending")

	// A terminating Pod still calls, and drift is still repaired.
	w.remove(pod)
	virtualService, err := w.istio(mesh.KindVirtualService, egress.ObjectName(host))
	if err != nil {
		t.Fatal(err)
	}
	w.patch(virtualService, map[string]any{"spec": map[string]any{"gateways": []string{"gateway"}}})
	w.programmed(w.defaultSpecs())
	if removed := removals(); len(removed) > 0 {
		t.Fatalf("a Pod is left, but %v went", removed)
	}

	w.patch(pod, map[string]any{"metadata": map[string]any{"finalizers": nil}})
	want := slices.Clone(generated())
	slices.Reverse(want)
	await.Eventually(w, "", func() error {
		if diff := cmp.Diff(want, removals(), cmp.AllowUnexported(object{})); diff != "" {
			return fmt.Errorf("the objects went in another order (+) than wanted (-):\n%s", diff)
		}
		return nil
	})
	await.Eventually(w, "", func() error {
		left, err := w.egressTarget()
		if err == nil && slices.Contains(left.Finalizers, egress.Finalizer) {
			return errors.New("the finalizer is still there")
		}
		return nil
	})
}

func TestTheAnchorServesTheTargetsOfTheNamespaceAndGoesWithTheLast(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	w.credential("other")
	removals := w.watchRemovals()
	w.start(controller.Options{})
	first := &v1alpha1.EgressTarget{
		ObjectMeta: metav1.ObjectMeta{Name: host},
		Spec:       v1alpha1.EgressTargetSpec{AppPort: 8080},
	}
	second := &v1alpha1.EgressTarget{
		ObjectMeta: metav1.ObjectMeta{Name: "other.system.com"},
		Spec:       v1alpha1.EgressTargetSpec{Credential: v1alpha1.Credential{SecretName: "other"}},
	}
	closed := &v1alpha1.EgressTarget{
		ObjectMeta: metav1.ObjectMeta{Name: "no.credential.com"},
		Spec:       v1alpha1.EgressTargetSpec{AppPort: 9090},
	}
	pods := map[string]*corev1.Pod{}
	for _, egressTarget := range []*v1alpha1.EgressTarget{first, second, closed} {
		w.create(egressTarget)
		pods[egressTarget.Name] = w.pod("calls-"+egressTarget.Name, egressTarget.Name)
	}
	w.anchorIs([]int64{80, 8080, 9090}, host, "no.credential.com", "other.system.com")
	// The anchor comes first: a target that goes before its own objects are written has nothing to
	// remove.
	w.hasObjects(11)

	w.remove(pods[first.Name])
	w.anchorIs([]int64{80, 9090}, host, "no.credential.com", "other.system.com")
	w.remove(first)
	w.gone()
	w.anchorIs([]int64{80, 9090}, "no.credential.com", "other.system.com")
	w.remove(pods[closed.Name])
	w.remove(closed)
	w.anchorIs([]int64{80}, "other.system.com")
	w.remove(pods[second.Name])
	w.remove(second)
	await.Eventually(w, "", func() error {
		removed := removals()
		if len(removed) != 11 || removed[10] != generated()[0] {
			return fmt.Errorf("removed are %v, want eleven, the anchor last", removed)
		}
		return nil
	})
}

// hasObjects waits until there are so many Istio objects in the namespace.
func (w *world) hasObjects(want int) {
	w.Helper()
	await.Eventually(w, "", func() error {
		var found []object
		for _, kind := range []string{mesh.KindServiceEntry, mesh.KindVirtualService, mesh.KindDestinationRule} {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(mesh.GroupVersion().WithKind(kind + "List"))
			if err := w.List(w.Context(), list, client.InNamespace(w.namespace)); err != nil {
				return err
			}
			for _, item := range list.Items {
				found = append(found, object{kind, item.GetName()})
			}
		}
		if len(found) != want {
			return fmt.Errorf("there are %d objects, want %d: %v", len(found), want, found)
		}
		return nil
	})
}

// anchorIs waits until the anchor has the ports and owners.
func (w *world) anchorIs(ports []int64, owners ...string) {
	w.Helper()
	await.Eventually(w, "", func() error {
		anchor, err := w.istio(mesh.KindServiceEntry, egress.AnchorName)
		if err != nil {
			return err
		}
		var gotPorts []int64
		entries, _, err := unstructured.NestedSlice(anchor.Object, "spec", "ports")
		if err != nil {
			return err
		}
		for _, entry := range entries {
			number, _, err := unstructured.NestedInt64(entry.(map[string]any), "number")
			if err != nil {
				return err
			}
			gotPorts = append(gotPorts, number)
		}
		var gotOwners []string
		for _, owner := range anchor.GetOwnerReferences() {
			gotOwners = append(gotOwners, owner.Name)
		}
		if diff := cmp.Diff(ports, gotPorts); diff != "" {
			return fmt.Errorf("the ports of the anchor (+) aren't as wanted (-):\n%s", diff)
		}
		slices.Sort(gotOwners)
		if diff := cmp.Diff(owners, gotOwners); diff != "" {
			return fmt.Errorf("the owners of the anchor (+) aren't as wanted (-):\n%s", diff)
		}
		return nil
	})
}

func TestARestartLosesNothingAndWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.credential(secret)
	first := w.start(controller.Options{TargetRetention: time.Hour})
	pod := w.pod("app", host)
	w.ready()
	w.remove(pod)
	var unused *metav1.Time
	await.Eventually(w, "", func() error {
		egressTarget, err := w.egressTarget()
		if unused = egressTarget.Status.UnusedSince; unused == nil {
			return fmt.Errorf("the EgressTarget isn't known to be unused (error %w)", err)
		}
		return nil
	})
	first.stop()

	// Nothing to do: a second controller looks at everything and writes nothing.
	second := w.start(controller.Options{TargetRetention: time.Hour})
	await.Eventually(w, "", func() error {
		if reads := second.requests.matching(func(line string) bool {
			return strings.HasPrefix(line, "GET /api/v1/namespaces/"+w.namespace+"/secrets/"+secret)
		}); len(reads) == 0 {
			return errors.New("the target was not looked at")
		}
		return nil
	})
	second.stop()
	if writes := w.writes(second); len(writes) > 0 {
		t.Errorf("nothing had changed, but the controller wrote %q", writes)
	}
	egressTarget, err := w.egressTarget()
	if err != nil || !egressTarget.Status.UnusedSince.Equal(unused) {
		t.Errorf("unused since %v after the restart (error %v), want %v", egressTarget.Status.UnusedSince, err, unused)
	}

	// What happened while no controller ran is made good.
	for _, o := range generated()[1:3] {
		content, err := w.istio(o.kind, o.name)
		if err != nil {
			t.Fatal(err)
		}
		w.remove(content)
	}
	w.pod("app-2", host)
	w.start(controller.Options{TargetRetention: time.Hour})
	w.programmed(w.defaultSpecs())
	await.Eventually(w, "", func() error {
		egressTarget, err := w.egressTarget()
		if err != nil || egressTarget.Status.UnusedSince != nil || egressTarget.Status.Pods != 1 {
			return fmt.Errorf("the new Pod isn't seen: %+v (error %w)", egressTarget.Status, err)
		}
		return nil
	})
}
