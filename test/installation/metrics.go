package installation

import (
	"bytes"
	"context"
	"fmt"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Metric returns the sum of a counter or gauge over all replicas, from /metrics, of those of its series that have the labels.
// A replica that doesn't run counts nothing.
func (i *Installation) Metric(ctx context.Context, name string, labels map[string]string) (float64, error) {
	var sum float64
	for _, replica := range i.Replicas {
		if !replica.Running() {
			continue
		}
		own, err := replica.Metric(ctx, name, labels)
		if err != nil {
			return 0, err
		}
		sum += own
	}
	return sum, nil
}

// Leader is the replica that is the controller; nil while there is none.
func (i *Installation) Leader(ctx context.Context) *Replica {
	for _, replica := range i.Replicas {
		if !replica.Running() {
			continue
		}
		// One that is starting or stopping doesn't answer.
		if leads, err := replica.Metric(ctx, "leader_election_master_status", nil); err == nil && leads == 1 {
			return replica
		}
	}
	return nil
}

// Metric is like that of the Installation, for one replica.
func (r *Replica) Metric(ctx context.Context, name string, labels map[string]string) (float64, error) {
	text, err := r.MetricsPage(ctx)
	if err != nil {
		return 0, err
	}
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

// MetricsPage is what /metrics says, in the text format of Prometheus.
func (r *Replica) MetricsPage(ctx context.Context) ([]byte, error) {
	return get(ctx, "http://"+r.metricsAddress+"/metrics")
}

// MetricsAddresses are host and port of /metrics of each replica, running or not.
func (i *Installation) MetricsAddresses() []string {
	var addresses []string
	for _, replica := range i.Replicas {
		addresses = append(addresses, replica.metricsAddress)
	}
	return addresses
}
