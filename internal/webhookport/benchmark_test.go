package webhookport_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/interception"
	"mtls.egress/webhook/internal/mutate"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/internal/webhookport"
	"mtls.egress/webhook/internal/workload"
)

// BenchmarkAdmission answers the request for a Pod as a ReplicaSet creates it, from the body to the
// answer, without the connection.
func BenchmarkAdmission(b *testing.B) {
	logf.SetLogger(logr.FromSlogHandler(slog.DiscardHandler))
	egressTarget := v1alpha1.EgressTarget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "project", Name: "external.system.com"},
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		b.Fatal(err)
	}
	// The cache as it is without its copies: the fake one would take most of the time.
	cached := interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme).Build(), interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return nil
		},
		List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, _ ...client.ListOption) error {
			if found, ok := list.(*v1alpha1.EgressTargetList); ok {
				found.Items = []v1alpha1.EgressTarget{egressTarget}
			}
			return nil
		},
	})
	registry := prometheus.NewRegistry()
	handler, err := mutate.NewHandler(mutate.Options{
		Cached: cached, Live: cached, Workloads: workload.Known(), Policy: policy.Cluster{Other: policy.OtherAllow},
		DynamicDNS: func() bool { return false },
		Injector:   func() interception.Injector { return interception.Injector{} }, Registry: registry,
	})
	if err != nil {
		b.Fatal(err)
	}
	port, err := webhookport.NewAdmission(&admission.Webhook{Handler: handler}, nil, registry)
	if err != nil {
		b.Fatal(err)
	}
	body := compact(b, "testdata/pod-review.json")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		request := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/mutate", bytes.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		answer := httptest.NewRecorder()
		port.ServeHTTP(answer, request)
		if answer.Code != http.StatusOK || !bytes.Contains(answer.Body.Bytes(), []byte("JSONPatch")) {
			b.Fatal(answer.Code, answer.Body)
		}
	}
}

// compact returns the JSON of a file as the API server sends it.
func compact(b *testing.B, path string) []byte {
	b.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	var body bytes.Buffer
	if err := json.Compact(&body, content); err != nil {
		b.Fatal(err)
	}
	return body.Bytes()
}
