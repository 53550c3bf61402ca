package installation

import (
	"bytes"
	"context"
	"fmt"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Metric returns the sum of a counter or gauge over all webhooks and controllers, from /metrics, of
// those of its series that have the labels. A process that doesn't run counts nothing.
func (i *Installation) Metric(ctx context.Context, name string, labels map[string]string) (float64, error) {
	var sum float64
	for _, process := range i.Processes() {
		if !process.Running() {
			continue
		}
		own, err := process.Metric(ctx, name, labels)
		if err != nil {
			return 0, err
		}
		sum += own
	}
	return sum, nil
}

// Leader returns the controller that is the leader, or nil if there is none.
func (i *Installation) Leader(ctx context.Context) *Process {
	for _, controller := range i.Controllers {
		if !controller.Running() {
			continue
		}
		// One that is starting or stopping doesn't answer.
		if leads, err := controller.Metric(ctx, "leader_election_master_status", nil); err == nil && leads == 1 {
			return controller
		}
	}
	return nil
}

// Metric is like that of the Installation, for one process.
func (p *Process) Metric(ctx context.Context, name string, labels map[string]string) (float64, error) {
	text, err := p.MetricsPage(ctx)
	if err != nil {
		return 0, err
	}
	return metricIn(text, name, labels)
}

// APIServerMetric is like Metric, for the API server.
func (i *Installation) APIServerMetric(ctx context.Context, name string) (float64, error) {
	text, err := i.Admin.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, err
	}
	return metricIn(text, name, nil)
}

// metricIn is the sum of a counter or gauge over the label values of a page of metrics.
func metricIn(text []byte, name string, labels map[string]string) (float64, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return 0, fmt.Errorf("reading the metrics: %w", err)
	}
	var sum float64
	for _, metric := range families[name].GetMetric() {
		found := map[string]string{}
		for _, label := range metric.GetLabel() {
			found[label.GetName()] = label.GetValue()
		}
		matches := true
		for label, value := range labels {
			matches = matches && found[label] == value
		}
		if matches {
			sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return sum, nil
}

// MetricsPage returns /metrics, in the text format of Prometheus.
func (p *Process) MetricsPage(ctx context.Context) ([]byte, error) {
	return get(ctx, "http://"+p.metricsAddress+"/metrics")
}
