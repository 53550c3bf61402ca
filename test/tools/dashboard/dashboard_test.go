package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	grafanastat "github.com/grafana/grafana-foundation-sdk/go/stat"
	grafanatable "github.com/grafana/grafana-foundation-sdk/go/table"
	grafanatimeseries "github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

const ours = "../../../charts/mtls-egress-webhook/files/dashboards/mtls-egress.json"

// TestGrafanaKnowsAllOfTheDashboard reads it with Grafana's own schema, which has all that a dashboard can have, and knows nothing else.
func TestGrafanaKnowsAllOfTheDashboard(t *testing.T) {
	schemas := cog.NewRuntime()
	schemas.RegisterDataqueryVariant(prometheus.VariantConfig())
	for _, panel := range []variants.PanelcfgConfig{grafanastat.VariantConfig(), grafanatable.VariantConfig(), grafanatimeseries.VariantConfig()} {
		schemas.RegisterPanelcfgVariant(panel)
	}
	content, err := os.ReadFile(ours)
	if err != nil {
		t.Fatal(err)
	}
	// It returns a list of errors, which is no nil error when it is empty.
	problems := func(content []byte) string {
		board := &grafana.Dashboard{} //nolint:staticcheck // the newer schema is one that older versions of Grafana can't read
		return fmt.Sprint(board.UnmarshalJSONStrict(content))
	}
	if found := problems(content); found != "" {
		t.Error(found)
	}
	for _, known := range []string{`"fillOpacity"`, `"legendFormat"`, `"gridPos"`} {
		wrong := bytes.Replace(content, []byte(known), []byte(`"unheardOf"`), 1)
		if problems(wrong) == "" {
			t.Errorf("something unheard of is taken in the place of %s", known)
		}
	}
}

// TestProblemsAreTold draws a good dashboard with one thing changed, from a server whose answers are told by the query.
func TestProblemsAreTold(t *testing.T) {
	const good = `{"title": "a dashboard", "panels": [
		{"type": "row", "title": "all of it", "gridPos": {"x": 0, "y": 0, "w": 24, "h": 1}},
		{"type": "stat", "title": "a stat", "gridPos": {"x": 0, "y": 1, "w": 4, "h": 4}, "fieldConfig": {"defaults": {"unit": "short", "thresholds": {"mode": "absolute", "steps": [{"color": "green", "value": null}]}}},
			"targets": [{"refId": "A", "expr": "one or vector(0)"}]},
		{"type": "timeseries", "title": "lines", "gridPos": {"x": 4, "y": 1, "w": 10, "h": 8}, "fieldConfig": {"defaults": {"unit": "bytes"}},
			"targets": [{"refId": "A", "expr": "rate(two[$__rate_interval])", "legendFormat": "{{pod}}"}]},
		{"type": "table", "title": "a table", "gridPos": {"x": 14, "y": 1, "w": 10, "h": 8}, "fieldConfig": {"defaults": {"unit": "s"}},
			"targets": [{"refId": "A", "expr": "two", "instant": true, "format": "table"}]}]}`
	for name, test := range map[string]struct{ old, new, want string }{
		"nothing is wrong":                {"", "", ""},
		"a type of panel is unknown":      {`"type": "stat"`, `"type": "gauge"`, `the panel "a stat": the type "gauge" is unknown, want one of ["row" "stat" "table" "timeseries"]`},
		"an option is unknown":            {`"unit": "bytes"`, `"unit": "bytes", "decimals": 2`, `something in it that this program can't draw: json: unknown field "decimals"`},
		"a panel is drawn differently":    {`"type": "table"`, `"type": "table", "options": {"showHeader": false}`, `the panel "a table": it would be drawn with the options map[frameIndex:0 showHeader:true], it has map[showHeader:false]`},
		"a unit is unknown":               {`"unit": "bytes"`, `"unit": "kbytes"`, `the panel "lines": the unit "kbytes" is unknown, want one of ["bytes" "ops" "percentunit" "reqps" "s" "short"]`},
		"a variable is unknown":           {`rate(two[$__rate_interval])`, `two[$interval]`, `the panel "lines": the query A has a variable other than $__rate_interval`},
		"a line has no name":              {`"legendFormat": "{{pod}}"`, `"legendFormat": ""`, `the panel "lines": the query A has no legend`},
		"a panel asks for nothing":        {`{"refId": "A", "expr": "two", "instant": true, "format": "table"}`, ``, `the panel "a table": it asks for nothing`},
		"panels overlap":                  {`"x": 14`, `"x": 13`, `the panel "a table" lies on "lines"`},
		"a stat gets red at 80":           {`, "thresholds": {"mode": "absolute", "steps": [{"color": "green", "value": null}]}`, ``, `the panel "a stat": it has no thresholds`},
		"a query is refused":              {`one or`, `refused or`, `the panel "a stat", query A: refused by Prometheus: refused or vector(0): bad_data: no such function`},
		"a query is warned of":            {`"two"`, `"warned"`, `the panel "a table", query A: warned of by Prometheus: warned: the data may be wrong`},
		"a query brings nothing":          {`"two"`, `"nothing"`, `the panel "a table", query A: no data: nothing`},
		"a query brings only its default": {`one or`, `nothing or`, `the panel "a stat", query A: no data: nothing`},
		"a stat has several values":       {`one or vector(0)`, `two`, `the panel "a stat": a stat shows one value, the query brings 2`},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(good, test.old) {
				t.Fatalf("nothing to replace: %s", test.old)
			}
			server := httptest.NewServer(http.HandlerFunc(fake))
			defer server.Close()
			folder := t.TempDir()
			file, picture := filepath.Join(folder, "dashboard.json"), filepath.Join(folder, "dashboard.png")
			if err := os.WriteFile(file, []byte(strings.Replace(good, test.old, test.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			err := run(t.Context(), []string{"-dashboard", file, "-prometheus", server.URL, "-last", "5m", "-picture", picture}, io.Discard)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want one with %s", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(picture)
			if err != nil {
				t.Fatal(err)
			}
			drawn, err := png.Decode(bytes.NewReader(content))
			if err != nil {
				t.Fatal(err)
			}
			if size := drawn.Bounds().Size(); size.X != width || size.Y != header+9*(cell+gap)+gap {
				t.Errorf("the picture is of %v", size)
			}
		})
	}
}

// fake answers as a Prometheus does that knows a series one, two of the name two, and faults that a real one is hard to be brought to.
func fake(w http.ResponseWriter, request *http.Request) {
	query := request.FormValue("query")
	result := []map[string]any{}
	answer := map[string]any{"status": "success"}
	now := float64(time.Now().Unix())
	kind, key, value := "vector", "value", []any{now, "42"}
	if strings.HasSuffix(request.URL.Path, "query_range") {
		kind, key, value = "matrix", "values", []any{[]any{now - 60, "41"}, []any{now - 45, "42"}, []any{now, "NaN"}}
	}
	add := func(pod string) {
		result = append(result, map[string]any{"metric": map[string]string{"pod": pod}, key: value})
	}
	switch {
	case strings.Contains(query, "refused"):
		w.WriteHeader(http.StatusBadRequest)
		answer = map[string]any{"status": "error", "errorType": "bad_data", "error": "no such function"}
	case strings.Contains(query, "warned"):
		answer["warnings"] = []string{"the data may be wrong"}
		add("one")
	case query == "nothing":
	case query == "two" || query == "rate(two[1m])":
		add("two-0")
		add("two-1")
	default:
		add("one")
	}
	answer["data"] = map[string]any{"resultType": kind, "result": result}
	_ = json.NewEncoder(w).Encode(answer) // the client notices when it can't be told
}

func TestIntervalsAreGrafanas(t *testing.T) {
	for name, test := range map[string]struct {
		last, scrape, step, rate time.Duration
	}{
		"a step is never shorter than a scrape":  {5 * time.Minute, 15 * time.Second, 15 * time.Second, time.Minute},
		"a rate has four scrapes":                {5 * time.Minute, 2 * time.Second, 2 * time.Second, 8 * time.Second},
		"of a long time, a rate leaves out none": {40 * time.Hour, 15 * time.Second, 6 * time.Minute, 6*time.Minute + 15*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			to := time.Unix(1e9, 0)
			span := span{from: to.Add(-test.last), to: to, scrape: test.scrape}
			if span.step() != test.step || span.rateInterval() != test.rate {
				t.Errorf("a step of %s and a rate of %s, want %s and %s", span.step(), span.rateInterval(), test.step, test.rate)
			}
		})
	}
}

func TestValuesHaveUnits(t *testing.T) {
	for _, test := range []struct {
		unit  string
		value float64
		want  string
	}{
		{"short", 0, "0"}, {"short", 80, "80"}, {"short", 12345, "12.3 K"}, {"reqps", 0.25, "0.25 req/s"}, {"percentunit", 0.034, "3.4%"},
		{"bytes", 52.4 * (1 << 20), "52.4 MiB"}, {"s", 0, "0 s"}, {"s", 0.0042, "4.2 ms"}, {"s", 90, "1.5 mins"}, {"s", 43200, "12 hours"}, {"s", -86400, "-1 days"},
	} {
		unit, err := unitOf(test.unit)
		if err != nil {
			t.Fatal(err)
		}
		if got := unit.text(test.value); got != test.want {
			t.Errorf("%v of %s is %q, want %q", test.value, test.unit, got, test.want)
		}
	}
	unit, _ := unitOf("s")
	if _, got := unit.ticks(0, 0.0042); fmt.Sprint(got) != "[0 ms 2 ms 4 ms 6 ms]" {
		t.Errorf("the ticks up to 4.2 ms are %q", got)
	}
}
