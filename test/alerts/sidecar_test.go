package alerts

import (
	"github.com/prometheus/client_golang/prometheus"

	"mtls.egress/webhook/internal/egress"
)

// calls are metrics of a sidecar as Istio describes them. The Envoy of the tests lacks the filter
// that counts them.
// https://istio.io/latest/docs/reference/config/metrics/
var calls = newSidecarMetrics()

type sidecarMetrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newSidecarMetrics() sidecarMetrics {
	labels := []string{
		"reporter", "source_workload", "source_workload_namespace", "destination_service", "destination_service_name",
		"destination_service_namespace", "request_protocol", "response_code", "response_flags",
	}
	m := sidecarMetrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(
			prometheus.CounterOpts{Name: "istio_requests_total", Help: "Requests."}, labels),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{ //nolint:promlinter // the name is Istio's
			Name: "istio_request_duration_milliseconds", Help: "Their duration.", Buckets: []float64{1, 10, 100},
		}, labels),
	}
	m.registry.MustRegister(m.requests, m.duration)
	return m
}

// count counts a call to a partner, every fourth of which fails, and one to another service.
func (m sidecarMetrics) count(n int) {
	partner, code, flags := egress.MeshHost("external.system.com"), "200", "-"
	if n%4 == 3 {
		code, flags = "503", "UF"
	}
	for _, labels := range [][]string{
		{"source", "shop", "shop", partner, partner, "shop", "http", code, flags},
		{"source", "shop", "shop", "pay.shop.svc.cluster.local", "pay", "shop", "http", "500", "-"},
	} {
		m.requests.WithLabelValues(labels...).Inc()
		m.duration.WithLabelValues(labels...).Observe(float64(n % 100))
	}
}
