package installation

import (
	"context"

	"mtls.egress/webhook/test/scrape"
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
	return scrape.Sum(text, name, labels)
}

// APIServerMetricsPage is like MetricsPage, for the API server. It is large, so take all figures
// from one.
func (i *Installation) APIServerMetricsPage(ctx context.Context) ([]byte, error) {
	return i.Admin.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
}

// MetricsPage returns /metrics, in the text format of Prometheus.
func (p *Process) MetricsPage(ctx context.Context) ([]byte, error) {
	return get(ctx, "http://"+p.metricsAddress+"/metrics")
}
