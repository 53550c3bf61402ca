package live

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/explain"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/workload"
)

const host = "external.system.com"

func TestSubjects(t *testing.T) {
	for argument, want := range map[string]Subject{
		"shop-1":                        {Pod: "shop-1"},
		"pod/shop-1":                    {Pod: "shop-1"},
		"deploy/shop":                   {Workload: "shop", Resource: "deployments.apps"},
		"Deployment/shop":               {Workload: "shop", Resource: "deployments.apps"},
		"deployments.apps/shop":         {Workload: "shop", Resource: "deployments.apps"},
		"cj/nightly":                    {Workload: "nightly", Resource: "cronjobs.batch"},
		"jobs.batch/nightly":            {Workload: "nightly", Resource: "jobs.batch"},
		"ksvc/shop":                     {Workload: "shop", Resource: "services.serving.knative.dev"},
		"egt/External.System.com.":      {Host: host},
		"egresstargets.mtls.egress/a.b": {Host: "a.b"},
	} {
		t.Run(argument, func(t *testing.T) {
			got, err := ParseSubject(argument, workload.Known())
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
	for _, argument := range []string{"service/shop", "deploy/", "deploy/a/b", "egt/https://a.b", "/shop"} {
		t.Run(argument, func(t *testing.T) {
			if got, err := ParseSubject(argument, workload.Known()); err == nil {
				t.Errorf("%q is read as %+v", argument, got)
			}
		})
	}
}

// pods are a Pod of each kind of owner.
func pod(name string, age time.Duration, change func(*corev1.Pod)) *corev1.Pod {
	created := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "project", CreationTimestamp: metav1.NewTime(time.Unix(1e9, 0).Add(-age)),
			Annotations: map[string]string{egress.AnnotationTarget: host},
			Labels: map[string]string{
				egress.LabelInjected: "true", egress.HostLabel(host): "true", "pod-template-hash": "7f",
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "shop-7f", Controller: new(true),
			}},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "istio-proxy", Image: "proxyv2:1.30.3"}}},
	}
	if change != nil {
		change(created)
	}
	return created
}

// reader reads these objects. forbidden are the resources that the user may not read.
func reader(t *testing.T, forbidden []string, objects ...client.Object) *Reader {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, coordinationv1.AddToScheme, v1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	mapper := meta.NewDefaultRESTMapper(scheme.PrioritizedVersionsAllGroups())
	for kind := range scheme.AllKnownTypes() {
		mapper.Add(kind, meta.RESTScopeNamespace)
	}
	for _, kind := range append(mesh.HostKinds(), mesh.KindSidecar) {
		scheme.AddKnownTypeWithName(mesh.GroupVersion().WithKind(kind), mesh.NewUnstructured(kind))
		list := mesh.GroupVersion().WithKind(kind + "List")
		scheme.AddKnownTypeWithName(list, newList(list))
		mapper.Add(mesh.GroupVersion().WithKind(kind), meta.RESTScopeNamespace)
	}
	refuse := func(object runtime.Object) error {
		name := strings.ToLower(strings.TrimPrefix(strings.TrimPrefix(typeOf(object), "*v1."), "*v1alpha1."))
		for _, resource := range forbidden {
			if strings.HasPrefix(name, resource) {
				return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", nil)
			}
		}
		return nil
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithRESTMapper(mapper).WithObjects(objects...).
		WithIndex(&corev1.Event{}, "reason", func(o client.Object) []string { return []string{asEvent(o).Reason} }).
		WithIndex(&corev1.Event{}, "involvedObject.name",
			func(o client.Object) []string { return []string{asEvent(o).InvolvedObject.Name} }).
		WithInterceptorFuncs(interceptor.Funcs{
			Get: func(
				ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption,
			) error {
				if err := refuse(object); err != nil {
					return err
				}
				return c.Get(ctx, key, object, options...)
			},
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
				if err := refuse(list); err != nil {
					return err
				}
				return c.List(ctx, list, options...)
			},
		}).Build()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,` +
			`"message":"pods \"shop-1\" is forbidden: User \"u\" cannot create resource"}`))
	}))
	t.Cleanup(server.Close)
	return &Reader{
		Client: c, Config: &rest.Config{Host: server.URL}, Namespace: "project", ReleaseNamespace: "mtls-egress",
		Kinds: workload.Known(), Now: time.Unix(1e9, 0),
	}
}

func TestThePodThatIsTheLeastFarIsChosen(t *testing.T) {
	ready := func(pod *corev1.Pod) {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	for name, test := range map[string]struct {
		pods []*corev1.Pod
		want string
	}{
		"the newest of equal ones": {[]*corev1.Pod{pod("old", 2, ready), pod("new", 1, ready)}, "new"},
		"one that isn't ready":     {[]*corev1.Pod{pod("old", 2, nil), pod("new", 1, ready)}, "old"},
		"one without a sidecar": {[]*corev1.Pod{
			pod("bare", 3, func(pod *corev1.Pod) { pod.Spec.Containers = nil }), pod("new", 1, nil),
		}, "bare"},
		"one that wasn't injected": {[]*corev1.Pod{
			pod("plain", 3, func(pod *corev1.Pod) { delete(pod.Labels, egress.LabelInjected) }),
			pod("bare", 2, func(pod *corev1.Pod) { pod.Spec.Containers = nil }),
		}, "plain"},
		"none of another owner": {[]*corev1.Pod{
			pod("shop", 3, nil), pod("other", 1, func(pod *corev1.Pod) { pod.OwnerReferences = nil }),
		}, "shop"},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []client.Object{&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "project"}}}
			for _, each := range test.pods {
				objects = append(objects, each)
			}
			facts, err := reader(t, nil, objects...).Facts(t.Context(),
				Subject{Workload: "shop", Resource: "deployments.apps"}, "")
			if err != nil || len(facts) != 1 {
				t.Fatalf("%d facts, error %v", len(facts), err)
			}
			if facts[0].Pod == nil || facts[0].Pod.Name != test.want {
				t.Errorf("Pod %v, want %s", facts[0].Pod, test.want)
			}
		})
	}
}

func TestMissingRightsAreNamed(t *testing.T) {
	running := func(pod *corev1.Pod) {
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "istio-proxy", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		}}
	}
	forbidden := []string{"secret", "event", "namespace", "lease", "egresstarget", "deployment"}
	r := reader(t, forbidden, pod("shop-1", 1, running))
	facts, err := r.Facts(t.Context(), Subject{Pod: "shop-1"}, "")
	if err != nil {
		t.Fatal(err)
	}
	want := map[explain.Source]string{
		explain.SourceSecret:    "it needs the right to get the resource secrets in the namespace project",
		explain.SourceEvents:    "it needs the right to list the resource events in the namespace project",
		explain.SourceNamespace: "it needs the right to get the resource namespaces",
		explain.SourceController: "it needs the right to list the resource leases.coordination.k8s.io in the namespace " +
			"mtls-egress",
		explain.SourceEgressTarget: "it needs the right to list the resource egresstargets.mtls.egress in the namespace " +
			"project",
		explain.SourceWorkload: "it needs the right to get the resource deployments.apps in the namespace project",
		explain.SourceLog:      "it needs the right to get the resource pods/log in the namespace project",
		explain.SourceEnvoy: "the admin interface of Envoy was not reached: it needs the right to create the resource " +
			"pods/portforward in the namespace project; it needs the right to create the resource pods/exec in the " +
			"namespace project",
	}
	if diff := cmp.Diff(want, facts[0].Unread); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatDoesNotExist(t *testing.T) {
	for name, test := range map[string]struct {
		subject   Subject
		forbidden []string
		want      string
	}{
		"a Pod": {Subject{Pod: "shop-1"}, nil, "the namespace project has no Pod shop-1"},
		"a workload": {Subject{Workload: "shop", Resource: "deployments.apps"}, nil, "the namespace project has no " +
			"Deployment shop"},
		"a Pod that the user may not read": {
			Subject{Pod: "shop-1"}, []string{"pod"}, "it needs the right to get the resource pods in the namespace project",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := reader(t, test.forbidden).Facts(t.Context(), test.subject, "")
			if err == nil || err.Error() != test.want {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}

func TestEventsAndTheLease(t *testing.T) {
	event := func(name, kind, object, reason string, at int64) *corev1.Event {
		return &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Name: name, Namespace: "project"},
			InvolvedObject: corev1.ObjectReference{Kind: kind, Name: object},
			Reason:         reason, Message: name, LastTimestamp: metav1.Unix(at, 0),
		}
	}
	renewed := metav1.NewMicroTime(time.Unix(999999990, 0))
	r := reader(t, nil,
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "project"}},
		event("second", "ReplicaSet", "shop-7f", "FailedCreate", 2),
		event("first", "ReplicaSet", "shop-6e", "FailedCreate", 1),
		event("another's", "ReplicaSet", "shopping-7f", "FailedCreate", 3),
		event("other", "ReplicaSet", "shop-7f", "Scaled", 4),
		&coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: "mtls-egress-webhook-controller", Namespace: "mtls-egress"},
			Spec: coordinationv1.LeaseSpec{
				HolderIdentity: new("one"), RenewTime: &renewed, LeaseDurationSeconds: new(int32(15)),
			},
		})
	facts, err := r.Facts(t.Context(), Subject{Workload: "shop", Resource: "deployments.apps"}, host)
	if err != nil {
		t.Fatal(err)
	}
	want := []explain.Event{
		{Object: "shop-6e", Reason: "FailedCreate", Message: "first", Time: time.Unix(1, 0)},
		{Object: "shop-7f", Reason: "FailedCreate", Message: "second", Time: time.Unix(2, 0)},
	}
	if diff := cmp.Diff(want, facts[0].Events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	controller := explain.Controller{
		Read: true, Present: true, Holder: "one", Renewed: renewed.Time, Duration: 15 * time.Second,
	}
	if diff := cmp.Diff(controller, facts[0].Controller); diff != "" {
		t.Errorf("controller (-want +got):\n%s", diff)
	}
}

func newList(kind schema.GroupVersionKind) runtime.Object {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind)
	return list
}

// typeOf returns the kind of an object or a list, with its package if it is typed.
func typeOf(object runtime.Object) string {
	if kind := object.GetObjectKind().GroupVersionKind().Kind; kind != "" {
		return kind
	}
	return fmt.Sprintf("%T", object)
}

func asEvent(object client.Object) *corev1.Event {
	event, _ := object.(*corev1.Event)
	return event
}
