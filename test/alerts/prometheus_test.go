package alerts

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/installation"
)

// apiServerInterval is how often the API server is scraped, which has many metrics. The others are
// scraped more often.
const apiServerInterval = 2 * time.Second

// server is a running Prometheus.
type server struct {
	address string
	started time.Time
}

// startPrometheus has a real Prometheus scrape the API server, the webhooks and controllers and
// more of them, with the label pod as the Prometheus operator gives it, and evaluate rules, each
// twice a second.
func startPrometheus(t *testing.T, i *installation.Installation, rules any, more map[string]string) *server {
	t.Helper()
	folder, err := apiserver.Tools(t.Context(), "promtool")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	encoded := func(content any) []byte {
		text, err := yaml.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	api, err := url.Parse(i.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	host := api.Host
	if host == "" {
		host = i.Config.Host
	}
	var pods []any
	add := func(pod, address string) {
		pods = append(pods, map[string]any{"targets": []string{address}, "labels": map[string]string{"pod": pod}})
	}
	for _, process := range i.Processes() {
		add("mtls-egress-"+process.Name, process.MetricsAddress())
	}
	for pod, address := range more {
		add(pod, address)
	}
	config := write("prometheus.yaml", encoded(map[string]any{
		"global":     map[string]any{"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
		"rule_files": []string{write("rules.yaml", encoded(rules))},
		"scrape_configs": []any{
			map[string]any{"job_name": "webhook", "honor_labels": true, "static_configs": pods},
			map[string]any{
				"job_name":        "apiserver",
				"scheme":          "https",
				"scrape_interval": apiServerInterval.String(),
				"scrape_timeout":  apiServerInterval.String(),
				"static_configs":  []any{map[string]any{"targets": []string{host}}},
				"tls_config": map[string]any{
					"ca_file": write(
						"ca.crt",
						i.Config.CAData,
					), "cert_file": write("client.crt", i.Config.CertData), "key_file": write("client.key", i.Config.KeyData),
				},
			},
		},
	}))
	addresses, err := apiserver.FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "log")
	process, err := apiserver.StartProcess(exec.Command(filepath.Join(folder, "prometheus"), "--config.file="+config,
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addresses[0]), log, i.StartGuarded)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Prometheus said at the end:\n%s", process.LastWords())
		}
		if err := process.Stop(time.Minute); err != nil {
			t.Error(err)
		}
	})
	return &server{address: "http://" + addresses[0], started: time.Now()}
}

// query returns the labels of the series that a query gives now, and their values.
func (s *server) query(ctx context.Context, query string) (series []map[string]string, values []string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet,
		s.address+"/api/v1/query?query="+url.QueryEscape(query), nil)
	if err != nil {
		return nil, nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, nil, err
	}
	if answer.Status != "success" {
		return nil, nil, await.Final(fmt.Errorf("%s: %s", query, answer.Error))
	}
	for _, one := range answer.Data.Result {
		series = append(series, one.Metric)
		values = append(values, fmt.Sprint(one.Value[1]))
	}
	return series, values, nil
}

// waitForSeries waits until a query has a series.
func (s *server) waitForSeries(t *testing.T, query string) {
	t.Helper()
	await.Eventually(t, "", func() error {
		series, _, err := s.query(t.Context(), query)
		if err == nil && len(series) == 0 {
			err = fmt.Errorf("there is no series of %s", query)
		}
		return err
	})
}

// waitFor waits until an alert of a severity fires, or doesn't any more, and does something
// meanwhile.
func (s *server) waitFor(t *testing.T, alert, severity string, firing bool, meanwhile ...func()) {
	t.Helper()
	query := fmt.Sprintf(`ALERTS{alertname=%q, severity=%q, alertstate="firing"}`, alert, severity)
	err := await.Until(
		t.Context(), await.Patience, fmt.Sprintf("%s %s fires: %t", alert, severity, firing),
		func(ctx context.Context) error {
			for _, do := range meanwhile {
				do()
			}
			series, _, err := s.query(ctx, query)
			if err == nil && (len(series) > 0) != firing {
				err = fmt.Errorf("%d series of %s", len(series), query)
			}
			return err
		},
	)
	if err != nil {
		t.Error(err)
	}
}

// description returns the description of an alert that fires, or has just fired.
func (s *server) description(t *testing.T, alert, severity string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.address+"/api/v1/alerts", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	var answer struct {
		Data struct {
			Alerts []struct{ Labels, Annotations map[string]string }
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	for _, one := range answer.Data.Alerts {
		if one.Labels["alertname"] == alert && one.Labels["severity"] == severity {
			return one.Annotations["description"]
		}
	}
	t.Errorf("Prometheus doesn't list %s %s", alert, severity)
	return ""
}
