package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	ctrlmanager "sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/informers"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/pki"
)

const (
	host   = "external.system.com"
	secret = "external-system-mtls-data"
)

// world is one test's namespace, and the controller running on the server.
type world struct {
	testing.TB
	client.Client
	server    *apiserver.Server
	namespace string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOn(t, server)
}

func newWorldOn(t *testing.T, server *apiserver.Server) *world {
	t.Helper()
	known := scheme(t)
	if err := certmanagerv1.AddToScheme(known); err != nil {
		t.Fatal(err)
	}
	admin, err := client.New(server.Config, client.Options{Scheme: known})
	if err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := admin.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	return &world{TB: t, Client: admin, server: server, namespace: namespace.Name}
}

func scheme(tb testing.TB) *runtime.Scheme {
	tb.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(
		corev1.AddToScheme(scheme), networkingv1.AddToScheme(scheme), eventsv1.AddToScheme(scheme),
		v1alpha1.AddToScheme(scheme),
	); err != nil {
		tb.Fatal(err)
	}
	return scheme
}

// running is a controller at work.
type running struct {
	registry  *prometheus.Registry
	requests  *requestLog
	forbidden *forbiddenLog
	stop      func()
}

// start runs the controller with the rights of the chart until the test ends or stop is called, and
// holds it to the rule that it reads Secrets by name only.
func (w *world) start(options controller.Options) *running {
	w.Helper()
	r := &running{registry: prometheus.NewRegistry(), requests: &requestLog{}, forbidden: &forbiddenLog{}}
	options.Registerer = r.registry
	var sinkhole egress.Sinkhole
	if options.Policy != nil {
		sinkhole = options.Policy.Sinkhole
	}
	own := rest.CopyConfig(w.server.Config)
	own.Impersonate = rest.ImpersonationConfig{UserName: user}
	own.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			r.requests.add(request)
			response, err := next.RoundTrip(request)
			switch {
			case err != nil:
			case response.StatusCode == http.StatusForbidden:
				err = r.forbidden.add(response)
			default:
				err = used.add(response)
			}
			return response, err
		})
	})
	manager, err := ctrl.NewManager(own, ctrl.Options{
		Scheme:                  scheme(w),
		Cache:                   informers.Options(sinkhole, options.TeamLabels...),
		Logger:                  quiet(w),
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		Controller:              config.Controller{SkipNameValidation: new(true), Logger: quiet(w)},
		GracefulShutdownTimeout: new(await.Patience),
	})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.Context()))
	// As serve does, once the manager runs.
	if err := manager.Add(
		ctrlmanager.RunnableFunc(func(ctx context.Context) error { return controller.Setup(ctx, manager, options) }),
	); err != nil {
		cancel()
		w.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.Errorf("the controller ended with %v", err)
		}
		if wrong := r.requests.matching(secretsBeyondGet); len(wrong) > 0 {
			w.Errorf("Secrets are read by name only, but there was %q", wrong)
		}
	})
	w.Cleanup(r.stop)
	return r
}

// quiet logs into the test only what went wrong.
func quiet(tb testing.TB) logr.Logger {
	t, ok := tb.(*testing.T)
	if !ok {
		return logr.Discard()
	}
	return testr.NewWithOptions(t, testr.Options{Verbosity: -1})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// requestLog holds the requests of a controller, each as method, path and query.
type requestLog struct {
	mutex sync.Mutex
	lines []string
}

func (l *requestLog) add(request *http.Request) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.lines = append(l.lines, request.Method+" "+request.URL.RequestURI())
}

func (l *requestLog) matching(wanted func(line string) bool) []string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return slices.DeleteFunc(slices.Clone(l.lines), func(line string) bool { return !wanted(line) })
}

// forbiddenLog holds the answers that forbid what the controller asked for.
type forbiddenLog struct {
	mutex   sync.Mutex
	answers []string
}

func (l *forbiddenLog) add(response *http.Response) error {
	answer, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	response.Body = io.NopCloser(bytes.NewReader(answer))
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.answers = append(l.answers, string(answer))
	return nil
}

// beyondRights are the answers that mention the user's rights; admission forbids as well.
func (l *forbiddenLog) beyondRights() []string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return slices.DeleteFunc(slices.Clone(l.answers), func(answer string) bool { return !strings.Contains(answer, user) })
}

func secretsBeyondGet(line string) bool {
	_, rest, found := strings.Cut(line, "/secrets")
	return found && (!strings.HasPrefix(line, "GET ") || !strings.HasPrefix(rest, "/") || strings.Contains(rest, "watch="))
}

// writes returns the requests that changed anything in the namespace, events aside.
func (w *world) writes(r *running) []string {
	return r.requests.matching(func(line string) bool {
		return !strings.HasPrefix(line, "GET ") && strings.Contains(line, "/"+w.namespace+"/") &&
			!strings.Contains(line, "/events")
	})
}

// pod creates a Pod as the webhook and Istio leave it. Without options it has a sidecar and
// presents the default Secret.
func (w *world) pod(name, wantedTarget string, options ...func(*corev1.Pod)) *corev1.Pod {
	w.Helper()
	entryHost, _, _ := strings.Cut(wantedTarget, ":")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.namespace,
			Name:      name,
			Labels: map[string]string{
				egress.LabelInjected:        egress.LabelValue,
				egress.HostLabel(entryHost): egress.LabelValue,
			},
			Annotations: map[string]string{egress.AnnotationTarget: wantedTarget},
		},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "app", Image: "app"}, {Name: egress.ProxyContainer, Image: "proxy"}},
		},
	}
	for _, option := range options {
		option(pod)
	}
	if err := w.Create(w.Context(), pod); err != nil {
		w.Fatal(err)
	}
	return pod
}

// at makes a Pod in which the target's host has the address.
func at(host, address string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.HostAliases = []corev1.HostAlias{{IP: address, Hostnames: []string{host}}}
	}
}

// presenting makes a Pod that mounts the Secret.
func presenting(secretName string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Annotations[egress.AnnotationSecret] = secretName
		pod.Annotations["sidecar.istio.io/userVolume"] = fmt.Sprintf(`[{"name":%q,"secret":{"secretName":%q}}]`,
			egress.VolumeName(host), secretName)
	}
}

func withoutSidecar(pod *corev1.Pod) {
	pod.Spec.Containers = pod.Spec.Containers[:1]
}

// remove deletes an object at once, as there is no kubelet to wait for.
func (w *world) remove(object client.Object) {
	w.Helper()
	if err := w.Delete(w.Context(), object, client.GracePeriodSeconds(0)); err != nil {
		w.Fatal(err)
	}
}

func (w *world) create(object client.Object) {
	w.Helper()
	object.SetNamespace(w.namespace)
	if err := w.Create(w.Context(), object); err != nil {
		w.Fatal(err)
	}
}

// credential creates a Secret of the layout cert, key, cacert that can be used.
func (w *world) credential(name string) {
	w.Helper()
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: goodData(w)})
}

func goodData(tb testing.TB) map[string][]byte {
	tb.Helper()
	ca := pki.NewCA(tb, "partner CA")
	client := ca.Issue(tb, pki.Client("orders"))
	return map[string][]byte{"cert": client.CertPEM, "key": client.KeyPEM, "cacert": ca.CertPEM}
}

func tlsLayout(data map[string][]byte) map[string][]byte {
	return map[string][]byte{"tls.crt": data["cert"], "tls.key": data["key"], "ca.crt": data["cacert"]}
}

func (w *world) egressTarget() (*v1alpha1.EgressTarget, error) {
	var egressTarget v1alpha1.EgressTarget
	err := w.Get(w.Context(), types.NamespacedName{Namespace: w.namespace, Name: host}, &egressTarget)
	return &egressTarget, err
}

// settled waits until a condition of the EgressTarget has the status and the reason, and returns
// the EgressTarget.
func (w *world) settled(kind string, status metav1.ConditionStatus, reason string) *v1alpha1.EgressTarget {
	w.Helper()
	var egressTarget *v1alpha1.EgressTarget
	await.Eventually(w, "", func() (err error) {
		if egressTarget, err = w.egressTarget(); err != nil {
			return err
		}
		condition := meta.FindStatusCondition(egressTarget.Status.Conditions, kind)
		if condition == nil || condition.Status != status || condition.Reason != reason ||
			condition.ObservedGeneration != egressTarget.Generation {
			return fmt.Errorf("the condition %s is %+v, want %s %s for generation %d",
				kind, condition, status, reason, egressTarget.Generation)
		}
		return nil
	})
	return egressTarget
}

func (w *world) ready() *v1alpha1.EgressTarget {
	w.Helper()
	return w.settled(v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
}

// gone waits until there is no EgressTarget.
func (w *world) gone() {
	w.Helper()
	await.Eventually(w, "", func() error {
		_, err := w.egressTarget()
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("the EgressTarget is there (error %w)", err)
	})
}

// istio reads an Istio object.
func (w *world) istio(kind, name string) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(mesh.GroupVersion().WithKind(kind))
	err := w.Get(w.Context(), types.NamespacedName{Namespace: w.namespace, Name: name}, object)
	return object, err
}

// object names an Istio object.
type object struct{ kind, name string }

// generated are the objects of the test's host in the order of their writing.
func generated() []object {
	return []object{
		{mesh.KindServiceEntry, egress.AnchorName},
		{mesh.KindVirtualService, egress.ObjectName(host)},
		{mesh.KindDestinationRule, egress.ObjectName(host)},
		{mesh.KindServiceEntry, egress.ObjectName(host)},
		{mesh.KindServiceEntry, egress.ListenerName(host)},
	}
}

// wantSpecs are the specs that the pure functions give for the target and layout.
func (w *world) wantSpecs(t egress.Target, layout egress.Layout) map[object]any {
	w.Helper()
	all := []mesh.Object{mesh.Anchor(t.Namespace, []int32{t.AppPort})}
	all = append(all, mesh.Objects(t, layout)...)
	specs := map[object]any{}
	for _, o := range all {
		content, err := mesh.Unstructured(o)
		if err != nil {
			w.Fatal(err)
		}
		specs[object{content.GetKind(), content.GetName()}] = content.Object["spec"]
	}
	return specs
}

// defaultSpecs are those of an EgressTarget with nothing set and a Secret of the first layout.
func (w *world) defaultSpecs() map[object]any {
	w.Helper()
	return w.wantSpecs(egress.FromEgressTarget(w.namespace, host, nil, egress.Sinkhole{}),
		egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"})
}

// specs are those in the cluster.
func (w *world) specs() map[object]any {
	w.Helper()
	specs := map[object]any{}
	for _, o := range generated() {
		content, err := w.istio(o.kind, o.name)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			w.Fatal(err)
		}
		specs[o] = content.Object["spec"]
	}
	return specs
}

// programmed waits until the objects in the cluster have exactly these specs.
func (w *world) programmed(want map[object]any) {
	w.Helper()
	await.Eventually(w, "", func() error {
		if diff := cmp.Diff(want, w.specs(), cmp.Comparer(func(a, b object) bool { return a == b })); diff != "" {
			return fmt.Errorf("the specs in the cluster (+) aren't those wanted (-):\n%s", diff)
		}
		return nil
	})
}

// nothingProgrammed fails when any Istio object is in the namespace.
func (w *world) nothingProgrammed() {
	w.Helper()
	if found := w.specs(); len(found) > 0 {
		w.Errorf("nothing may be written, but there is %v", slices.Collect(maps.Keys(found)))
	}
}

// events are the reasons of the events about an object, with the type of each, in the order of
// their times.
func (w *world) events(about client.Object) []string {
	w.Helper()
	var list eventsv1.EventList
	if err := w.List(w.Context(), &list, client.InNamespace(w.namespace)); err != nil {
		w.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b eventsv1.Event) int { return a.EventTime.Compare(b.EventTime.Time) })
	var reasons []string
	for _, e := range list.Items {
		if e.Regarding.UID == about.GetUID() {
			reasons = append(reasons, e.Type+" "+e.Reason)
		}
	}
	return reasons
}

// patch merges a JSON document into an object, as somebody else.
func (w *world) patch(object client.Object, document map[string]any) {
	w.Helper()
	data, err := json.Marshal(document)
	if err != nil {
		w.Fatal(err)
	}
	if err := w.Patch(
		w.Context(), object, client.RawPatch(types.MergePatchType, data), client.FieldOwner("somebody"),
	); err != nil {
		w.Fatal(err)
	}
}
