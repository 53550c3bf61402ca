package mutate

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/interception"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/internal/workload"
)

// asked counts the calls to the API server.
type asked struct{ Gets, Lists int }

func newHandler(t *testing.T, calls *asked) *Handler {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	live := interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme).Build(), interceptor.Funcs{
		Get: func(ctx context.Context, reader client.WithWatch, key client.ObjectKey, object client.Object,
			options ...client.GetOption) error {
			calls.Gets++
			return reader.Get(ctx, key, object, options...)
		},
		List: func(ctx context.Context, reader client.WithWatch, list client.ObjectList,
			options ...client.ListOption) error {
			calls.Lists++
			return reader.List(ctx, list, options...)
		},
	})
	handler, err := NewHandler(Options{
		Cached: fake.NewClientBuilder().WithScheme(scheme).Build(), Live: live, Workloads: workload.Known(),
		Policy: policy.Cluster{Other: policy.OtherAllow}, DynamicDNS: func() bool { return false },
		Injector: func() interception.Injector { return interception.Injector{} }, Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

func podRequest(kind, targets string) admission.Request {
	return admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		UID:       "1",
		Kind:      metav1.GroupVersionKind{Version: "v1", Kind: kind},
		Namespace: "project",
		Operation: admissionv1.Create,
		Object: runtime.RawExtension{
			Raw: []byte(`{"metadata":{"annotations":{"mtls.egress/target":"` + targets +
				`"}},"spec":{"containers":[{"name":"app"}]}}`),
		},
	}}
}

// An annotation can hold many hosts. One of the calls reads the Namespace, which the cache lacks
// here.
func TestARequestMakesFewCalls(t *testing.T) {
	for count, want := range map[int]asked{1: {Gets: 2}, maxLookups: {Gets: maxLookups + 1}, maxLookups +
		1: {Gets: 1, Lists: 1}, 10: {Gets: 1, Lists: 1}} {
		hosts := make([]string, count)
		for n := range hosts {
			hosts[n] = fmt.Sprintf("h%d.example.com", n)
		}
		var calls asked
		newHandler(t, &calls).Handle(t.Context(), podRequest("Pod", strings.Join(hosts, ",")))
		if diff := cmp.Diff(want, calls); diff != "" {
			t.Errorf("%d hosts (-want +got):\n%s", count, diff)
		}
	}
}
