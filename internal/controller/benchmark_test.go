package controller

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/informers"
)

// filledCache is a cache that returns lists without a copy, as the collector requests.
type filledCache struct {
	client.Reader

	egressTargets []v1alpha1.EgressTarget
	namespaces    []metav1.PartialObjectMetadata
}

func (c filledCache) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	switch list := list.(type) {
	case *v1alpha1.EgressTargetList:
		list.Items = c.egressTargets
	case *metav1.PartialObjectMetadataList:
		list.Items = c.namespaces
	}
	return nil
}

// BenchmarkScrape measures one scrape of the controller's metrics by Prometheus, with 1,000 targets
// of one credential each and 10,000 Pods, in 100 namespaces with a team each.
func BenchmarkScrape(b *testing.B) {
	const targets, count = 1000, 10_000
	cache := filledCache{}
	for i := range targets {
		cache.egressTargets = append(cache.egressTargets, v1alpha1.EgressTarget{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: fmt.Sprintf("team-%d", i%100), Name: fmt.Sprintf("partner-%d.example.com", i),
			},
			Status: v1alpha1.EgressTargetStatus{
				Conditions: []metav1.Condition{
					{Type: "Ready", Status: "True", Reason: "Ready"}, {Type: "Verified", Status: "True", Reason: "Verified"},
				},
				Credentials: []v1alpha1.CredentialStatus{
					{SecretName: fmt.Sprintf("partner-%d-mtls-data", i), Pods: 10, NotAfter: &metav1.Time{Time: noon()}},
				},
			},
		})
	}
	for i := range 100 {
		cache.namespaces = append(cache.namespaces, metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("team-%d", i), Labels: map[string]string{"team": strconv.Itoa(i)},
		}})
	}
	pods := toolscache.NewIndexer(toolscache.MetaNamespaceKeyFunc, nil)
	for i := range count {
		err := pods.Add(informers.NewPod(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Name:      strconv.Itoa(i),
				Namespace: fmt.Sprintf("team-%d", i%100),
				Labels:    map[string]string{egress.LabelInjected: egress.LabelValue},
			},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}, {Name: egress.ProxyContainer, Image: "proxy"}}},
		}, egress.Sinkhole{}))
		if err != nil {
			b.Fatal(err)
		}
	}
	elected := make(chan struct{})
	close(elected)
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		newCollector(informers.Cache{Reader: cache, Pods: informers.NewPods(pods, func() bool { return true })}, elected,
			DefaultTeamLabels()),
	)
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	b.ReportAllocs()
	for b.Loop() {
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if response.Code != http.StatusOK || response.Body.Len() < targets*100 {
			b.Fatalf("%d, %d bytes", response.Code, response.Body.Len())
		}
	}
}
