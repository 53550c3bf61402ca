package mutate

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// metrics are those of admission.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

// kindOther stands for every kind that isn't admitted here: whoever reaches the port may write any
// name, and each would be a series more.
const kindOther = "other"

// newMetrics registers the metrics.
func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mtls_egress_admission_requests_total",
			Help: "Admission requests by kind of object, decision (injected, propagated, unchanged, refused, error) and, of the last two, the first reason.",
		}, []string{"kind", "decision", "reason"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "mtls_egress_admission_duration_seconds",
			Help:    "How long an admission request took, from its being read to its answer being known, by kind of object.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"kind"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mtls_egress_admission_requests_in_flight",
			Help: "The admission requests that are worked on now.",
		}),
	}
	// A counter that appears with its first event at 1 shows Prometheus no increase, so those that
	// alerts ask for start at 0.
	for _, kind := range []string{"Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", kindOther} {
		for _, reason := range failures() {
			m.requests.WithLabelValues(kind, decisionError, string(reason))
		}
	}
	m.requests.WithLabelValues("Pod", decisionInjected, "")
	m.duration.WithLabelValues("Pod")
	err := errors.Join(
		registry.Register(m.requests),
		registry.Register(m.duration),
		registry.Register(m.inFlight),
	)
	if err != nil {
		return nil, fmt.Errorf("registering the admission metrics: %w", err)
	}
	return m, nil
}

// knownKind is the kind's name where its objects are admitted here.
func knownKind(kind schema.GroupKind) string {
	if IsMutable(kind) {
		return kind.Kind
	}
	return kindOther
}
