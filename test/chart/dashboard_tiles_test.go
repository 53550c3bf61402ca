package chart

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

// TestTilesOfTheDashboard has Prometheus's own engine compute the numbers in the upper row.
func TestTilesOfTheDashboard(t *testing.T) {
	const (
		ready       = `mtls_egress_target_ready{namespace="project", host="external.system.com"}`
		conflicted  = `mtls_egress_target_ready{namespace="project", host="other.example", reason="Conflicted"}`
		certificate = "mtls_egress_credential_not_after_timestamp_seconds"
		unprocessed = `mtls_egress_target_ready{namespace="project", host="new.example"}`
	)
	leader := func(cluster, pod string) string {
		return fmt.Sprintf(
			"leader_election_master_status{name=%q, cluster=%q, pod=%q}", "mtls-egress-webhook-controller", cluster, pod)
	}
	webhook := func(cluster, pod string) string {
		return fmt.Sprintf(
			"mtls_egress_serving_certificate_not_after_timestamp_seconds{cluster=%q, pod=%q}", cluster, pod)
	}
	const always, untilAnHourAgo = "1x120", "1x60 stale"
	// What a leader does not report on does not exist, and its number is 0.
	led := func(tiles map[string]float64) map[string]float64 {
		all := map[string]float64{
			"Targets ready": 0, "Targets not ready": 0, "Pods waiting": 0, "Without sidecar": 0, "Calls in plain text": 0,
		}
		maps.Copy(all, tiles)
		return all
	}
	tests := map[string]struct {
		series map[string]string
		// want has the value of each tile that has one.
		want map[string]float64
	}{
		"nothing is known without metrics, and nobody is there": {
			want: map[string]float64{"Webhook replicas": 0, "Leaders": 0},
		},
		"a release without targets": {
			series: map[string]string{leader("", "a"): always, leader("", "b"): "0x120", webhook("", "a"): always},
			want:   led(map[string]float64{"Webhook replicas": 1, "Leaders": 1}),
		},
		"a release with targets and Pods": {
			series: map[string]string{
				leader("", "a"): always, webhook("", "a"): always, webhook("", "b"): always,
				ready: always, conflicted: "0x120", unprocessed: "0x120",
				`mtls_egress_pods_not_programmed{namespace="project", host="other.example"}`: "3x120",
				`mtls_egress_pods_without_sidecar{namespace="project"}`:                      "4x120",
				`mtls_egress_pods_not_injected{namespace="project"}`:                         "5x120",
				`mtls_egress_pods_not_propagated{namespace="project"}`:                       "6x120",
				certificate + `{namespace="project", host="external.system.com"}`:            "10800x120",
				certificate + `{namespace="project", host="other.example", secret="s"}`:      "7260x120",
			},
			want: map[string]float64{
				"Targets ready": 1, "Targets not ready": 2, "Pods waiting": 3, "Without sidecar": 4,
				"Calls in plain text": 11, "Certificate expires in": 60, "Webhook replicas": 2, "Leaders": 1,
			},
		},
		"targets of a release whose controllers are gone": {
			series: map[string]string{
				leader("", "a"): untilAnHourAgo, webhook("", "a"): untilAnHourAgo, ready: untilAnHourAgo,
			},
			want: map[string]float64{"Webhook replicas": 0, "Leaders": 0},
		},
		"two clusters with all parts": {
			series: map[string]string{
				leader("a", "a"): always, leader("a", "b"): "0x120", leader("b", "a"): always,
				webhook("a", "a"): always, webhook("a", "b"): always, webhook("b", "a"): always,
			},
			want: led(map[string]float64{"Webhook replicas": 1, "Leaders": 1}),
		},
		"a cluster whose metrics have ended": {
			series: map[string]string{
				leader("a", "a"): always, leader("b", "a"): untilAnHourAgo,
				webhook("a", "a"): always, webhook("b", "a"): untilAnHourAgo,
			},
			want: led(map[string]float64{"Webhook replicas": 0, "Leaders": 0}),
		},
		"a cluster whose webhook has no certificate and whose controllers are on standby": {
			series: map[string]string{
				leader("a", "a"): always, leader("b", "a"): "0x120",
				webhook("a", "a"): always, webhook("b", "a"): "0x120",
			},
			want: led(map[string]float64{"Webhook replicas": 0, "Leaders": 0}),
		},
		"a cluster with two leaders": {
			series: map[string]string{
				leader("a", "a"): always, leader("b", "a"): always, leader("b", "b"): always,
				webhook("a", "a"): always, webhook("b", "a"): always,
			},
			want: led(map[string]float64{"Webhook replicas": 1, "Leaders": 2}),
		},
	}
	all := strings.NewReplacer("$cluster", ".*", "$namespace", ".*", "$host", ".*")
	board := renderDashboard(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var series, queries []any
			for name, values := range test.series {
				series = append(series, sample(name, values))
			}
			for _, panel := range board.Panels {
				if panel.Type != "stat" {
					continue
				}
				samples := []any{}
				if value, shown := test.want[panel.Title]; shown {
					samples = append(samples, map[string]any{"labels": "{}", "value": value})
				}
				queries = append(queries, map[string]any{
					"expr": all.Replace(panel.Targets[0].Expr), "eval_time": "2h", "exp_samples": samples,
				})
			}
			testRules(t, map[string]any{}, map[string]any{
				"interval": "1m", "input_series": series, "promql_expr_test": queries,
			})
		})
	}
}
