package mutate

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"mtls.egress/webhook/internal/workload"
)

// metrics holds the metrics of admission.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

// kindOther replaces every kind that the webhook doesn't handle. A client can send any name, and
// each one would create a new time series.
const kindOther = "other"

func newMetrics(kinds map[schema.GroupKind]workload.Kind, registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mtls_egress_admission_requests_total",
			Help: "Admission requests by kind of object, decision (injected, propagated, unchanged, refused, error) " +
				"and, for the last two, the first reason.",
		}, []string{"kind", "decision", "reason"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "mtls_egress_admission_duration_seconds",
			Help: "Duration of an admission request in seconds, from the parsed request to the " +
				"decision, by kind of object.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"kind"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mtls_egress_admission_requests_in_flight",
			Help: "The number of admission requests in progress.",
		}),
	}
	// Prometheus sees no increase in a counter that first appears with the value 1. Therefore the
	// counters that alerts use start at 0.
	named := []string{"Pod", kindOther}
	for kind := range kinds {
		named = append(named, kind.Kind)
	}
	for _, kind := range named {
		for _, reason := range failures() {
			m.requests.WithLabelValues(kind, decisionError, string(reason))
		}
	}
	m.requests.WithLabelValues("Pod", decisionInjected, "")
	m.duration.WithLabelValues("Pod")
	err := errors.Join(registry.Register(m.requests), registry.Register(m.duration), registry.Register(m.inFlight))
	if err != nil {
		return nil, fmt.Errorf("registering the admission metrics: %w", err)
	}
	return m, nil
}

// knownKind returns the name of a kind that the webhook handles, or kindOther.
func (h *Handler) knownKind(kind schema.GroupKind) string {
	if _, known := h.kinds[kind]; known || IsPod(kind) {
		return kind.Kind
	}
	return kindOther
}
