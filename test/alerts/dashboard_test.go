package alerts

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/installation"
)

// troubles are the alerts whose causes are there when the dashboard is asked for.
func troubles() []string {
	return []string{
		"MTLSEgressConflict", "MTLSEgressPodsWithoutSidecar", "MTLSEgressPodsNotInjected",
		"MTLSEgressCredentialExpires", "MTLSEgressTargetNotVerified",
	}
}

// fillsTheDashboard asks Prometheus each query of the dashboard over the time of the test, which
// had the cause of every alert, while some of the causes are there again. A query that Prometheus
// refuses or warns of fails, and so does one without data.
func (s scene) fillsTheDashboard(prometheus *server, causes []cause) {
	s.Helper()
	causes = slices.DeleteFunc(slices.Clone(causes), func(c cause) bool { return !slices.Contains(troubles(), c.alert) })
	for _, c := range causes {
		c.make(s)
	}
	s.pod("payments", "external.system.com", nil) // has no Secret
	s.kubectl("label", "namespace", "expires", "team=shop")
	s.busy()
	for _, c := range causes {
		prometheus.waitFor(s.T, c.alert, c.severity, true)
	}
	prometheus.waitFor(s.T, "MTLSEgressTargetNotProgrammed", "critical", true)
	prometheus.waitForSeries(s.T, `ALERTS{alertname="MTLSEgressCredentialExpires", alertstate="firing", team="shop"}`)
	s.askDashboard(prometheus)
}

// busy is long enough that a rate can be told of it: Pods are created, some of them with a mistake,
// somebody deletes generated objects, and somebody knocks at the webhook's port.
func (s scene) busy() {
	s.Helper()
	s.renew("shop")
	s.kubectl("wait", "--for=create", "--timeout="+await.Patience.String(), "--namespace=shop",
		"egresstarget/external.system.com")
	s.kubectl("wait", "--for=condition=Ready", "--timeout="+await.Patience.String(), "--namespace=shop",
		"egresstargets", "--all")
	knocker := &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
	}
	ctx, cancel := context.WithTimeout(s.Context(), 6*apiServerInterval)
	defer cancel()
	for n := 0; ctx.Err() == nil || n < 40; n++ { // each of them twice at least
		calls.count(n)
		switch {
		case n%10 == 9:
			if err := s.create("shop", "https://external.system.com", []string{metav1.DryRunAll}); err == nil {
				s.Error("a host with a scheme was admitted")
			}
		case n%20 == 4:
			s.kubectl("delete", "serviceentries,destinationrules", "--all", "--namespace=shop",
				"--as="+installation.User) // others may not
		case n%20 == 14:
			response, err := knocker.Get("https://" + s.Replicas[0].Address() + "/mutate")
			if err != nil {
				s.Fatal(err)
			}
			_ = response.Body.Close() // whatever it says, it is counted
		default:
			s.pod("shop", "external.system.com", []string{metav1.DryRunAll})
		}
		time.Sleep(50 * time.Millisecond) // any rate will do, as long as there is one
	}
}

// variables puts in what Grafana does for All, and for the time over which a rate can be computed:
// four scrapes at least.
// https://grafana.com/docs/grafana/latest/datasources/prometheus/template-variables/#use-__rate_interval
func variables() *strings.Replacer {
	return strings.NewReplacer("$cluster", ".*", "$namespace", ".*", "$host", ".*",
		"$__rate_interval", (4 * apiServerInterval).String())
}

// board is what matters of a dashboard.
// https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
type board struct {
	Panels []struct {
		Title   string
		Targets []struct {
			Expr    string
			Instant bool
		}
	}
}

func (s scene) askDashboard(prometheus *server) {
	s.Helper()
	text, err := os.ReadFile(
		filepath.Join(s.Root, "charts", "mtls-egress-webhook", "files", "dashboards", "mtls-egress.json"),
	)
	if err != nil {
		s.Fatal(err)
	}
	var dashboard board
	if err := json.Unmarshal(text, &dashboard); err != nil {
		s.Fatal(err)
	}
	asked := 0
	for _, panel := range dashboard.Panels {
		for _, query := range panel.Targets {
			asked++
			// Beside the 0 for no series, the query itself has to have data.
			expr := strings.TrimSuffix(query.Expr, " or vector(0)")
			expr, _, _ = strings.Cut(expr, " or 0 * count(leader_election_master_status{")
			expr = variables().Replace(expr)
			if err := prometheus.hasData(s.Context(), expr, query.Instant); err != nil {
				s.Errorf("the panel %q: %s: %v", panel.Title, expr, err)
			}
		}
	}
	if asked == 0 {
		s.Error("the dashboard has no query")
	}
	s.readsTheSuccessRate(prometheus, dashboard)
}

// readsTheSuccessRate compares the success rate of the partner with the calls of sidecarMetrics.
func (s scene) readsTheSuccessRate(prometheus *server, dashboard board) {
	s.Helper()
	for _, panel := range dashboard.Panels {
		if panel.Title != "Success rate" {
			continue
		}
		// All calls of the test have to be in the window.
		expr := strings.ReplaceAll(panel.Targets[0].Expr, "$__rate_interval", "1h")
		series, values, err := prometheus.query(s.Context(), variables().Replace(expr))
		if err != nil || len(series) != 1 || series[0]["host"] != "external.system.com" {
			s.Fatalf("%s: %v, error %v", panel.Title, series, err)
		}
		if rate, err := strconv.ParseFloat(values[0], 64); err != nil || rate < 0.7 || rate > 0.8 {
			s.Errorf("the success rate is %s (error %v), although every fourth call failed", values[0], err)
		}
		return
	}
	s.Error("the dashboard has no success rate")
}

// hasData returns why a query has no data now, or over the time since the start.
func (p *server) hasData(ctx context.Context, expr string, instant bool) error {
	now := time.Now()
	path, values := "query_range", url.Values{
		"query": {expr}, "step": {apiServerInterval.String()},
		"start": {p.started.Format(time.RFC3339)}, "end": {now.Format(time.RFC3339)},
	}
	if instant {
		path, values = "query", url.Values{"query": {expr}}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.address+"/api/v1/"+path+"?"+values.Encode(), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	var answer struct {
		Error    string
		Warnings []string
		Data     struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Error != "" || len(answer.Warnings) > 0 {
		return fmt.Errorf("Prometheus says: %s %q", answer.Error, answer.Warnings)
	}
	// A ratio of nothing is NaN, which no panel shows.
	for _, series := range answer.Data.Result {
		if numbers.Match(series) {
			return nil
		}
	}
	return errors.New("no data")
}

// numbers matches a sample that is a number, as in [1735689600,"0.5"].
var numbers = regexp.MustCompile(`\[[0-9.e+]+,"-?[0-9]`)
