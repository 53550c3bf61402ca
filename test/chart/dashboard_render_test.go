package chart

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// dashboard is what the tests read of the dashboard. test/dashboard compares all of it with
// Grafana's schema, and test/alerts has Prometheus answer its queries.
// https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
type dashboard struct {
	Panels []struct {
		ID                       int
		Type, Title, Description string
		GridPos                  struct{ X, Y, W, H int }
		Links                    []dashboardLink
		FieldConfig              struct {
			Defaults struct {
				Unit, NoValue string
				Thresholds    struct{ Steps []struct{ Color string } }
				Links         []dashboardLink
			}
		}
		Targets []struct {
			Expr    string
			Instant bool
		}
	}
	Templating struct {
		List []struct {
			Name, Query string
			Hide        int
		}
	}
}

type dashboardLink struct{ Title, URL string }

func renderDashboard(t *testing.T, args ...string) dashboard {
	t.Helper()
	rendered := render(t, append(args, "--set", "dashboard.enabled=true")...)["ConfigMap "+release+"-dashboard"]
	var found dashboard
	if err := json.Unmarshal([]byte(at(t, rendered, "data", "mtls-egress.json").(string)), &found); err != nil {
		t.Fatal(err)
	}
	if len(found.Panels) == 0 {
		t.Fatal("the dashboard has no panel")
	}
	return found
}

// links returns the URLs of all links with the variables filled in.
func (d dashboard) links() (found []string) {
	var variables []string
	for _, variable := range d.Templating.List {
		variables = append(variables, "${"+variable.Name+":raw}", variable.Query)
	}
	for _, panel := range d.Panels {
		for _, link := range slices.Concat(panel.Links, panel.FieldConfig.Defaults.Links) {
			found = append(found, strings.NewReplacer(variables...).Replace(link.URL))
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func TestEachPanelOfTheDashboardIsComplete(t *testing.T) {
	ids, cells := map[int]string{}, map[[2]int]string{}
	for _, panel := range renderDashboard(t).Panels {
		if other, taken := ids[panel.ID]; taken {
			t.Errorf("%s and %s have the ID %d", panel.Title, other, panel.ID)
		}
		ids[panel.ID] = panel.Title
		for x := panel.GridPos.X; x < panel.GridPos.X+panel.GridPos.W; x++ {
			for y := panel.GridPos.Y; y < panel.GridPos.Y+panel.GridPos.H; y++ {
				if other, taken := cells[[2]int{x, y}]; taken || x >= 24 {
					t.Fatalf("%s is on %q, or beyond the 24 columns of the grid", panel.Title, other)
				}
				cells[[2]int{x, y}] = panel.Title
			}
		}
		if panel.Type == "row" {
			continue
		}
		// The columns of a table have their own units.
		defaults := panel.FieldConfig.Defaults
		if panel.Description == "" || defaults.Unit == "" && panel.Type != "table" {
			t.Errorf("%s has the description %q and the unit %q", panel.Title, panel.Description, defaults.Unit)
		}
		if len(panel.Targets) == 0 {
			t.Errorf("%s has no query", panel.Title)
		}
		for _, query := range panel.Targets {
			if defaults.NoValue == "" && !strings.HasSuffix(query.Expr, " or vector(0)") {
				t.Errorf("%s is empty without data, and doesn't say why: it lacks noValue", panel.Title)
			}
			if panel.Type == "stat" && !query.Instant {
				t.Errorf("%s shows the last value of the time range if the metrics have ended: it lacks instant", panel.Title)
			}
		}
		// Nothing is known without metrics, not even that all is well.
		if defaults.NoValue != "" && !strings.Contains(strings.ToLower(defaults.NoValue), "no metrics of ") {
			t.Errorf("%s says %q also if there are no metrics: name whose metrics can be missing", panel.Title, defaults.NoValue)
		}
		// Grafana gives a tile without data the color of the first step.
		if steps := defaults.Thresholds.Steps; panel.Type == "stat" && (len(steps) == 0 || steps[0].Color == "green") {
			t.Errorf("%s is green without data: its first threshold needs another color", panel.Title)
		}
	}
}

// TestTheDashboardFollowsItsVariables: each metric is filtered by the labels that it has.
func TestTheDashboardFollowsItsVariables(t *testing.T) {
	const cluster, namespace, host = `cluster=~"$cluster"`, `namespace=~"$namespace"`, `host=~"$host"`
	filters := map[string][]string{
		"mtls_egress_(target|credential|pods_not_programmed)_?[a-z_]*":    {cluster, namespace, host},
		"(mtls_egress_pods_without_sidecar|__name__=~\"mtls_egress_pods)": {cluster, namespace},
		"istio_[a-z_]+": {cluster, "source_workload_" + namespace, `destination_service=~"($host)`},
		"mtls_egress_(admission|webhook|repairs)_":                                         {cluster},
		"(mtls_egress_serving|leader_election|controller_runtime|process|apiserver)_[a-z]": {cluster},
		// It has no value of its own: it selects the processes.
		"mtls_egress_mesh_config_readable": nil,
	}
	metric := regexp.MustCompile(`(?:\{__name__=~"mtls_egress_pods|\b(?:mtls_egress|istio|leader_election|` +
		`controller_runtime|process|apiserver)_[a-z_]+)[^{}]*(?:\{[^{}]*\})?`)
	for _, panel := range renderDashboard(t).Panels {
		for _, query := range panel.Targets {
			found := metric.FindAllString(query.Expr, -1)
			if len(found) == 0 {
				t.Errorf("%s: %s has no metric that the test knows", panel.Title, query.Expr)
			}
			for _, selector := range found {
				known := false
				for pattern, labels := range filters {
					if !regexp.MustCompile(`^\{?` + pattern).MatchString(selector) {
						continue
					}
					known = true
					for _, label := range labels {
						if !strings.Contains(selector, label) {
							t.Errorf("%s: %s lacks %s", panel.Title, selector, label)
						}
					}
				}
				if !known {
					t.Errorf("%s: the test doesn't know which labels %s has", panel.Title, selector)
				}
			}
		}
	}
}

func TestLinksOfTheDashboard(t *testing.T) {
	headings := func(page string) (found []string) {
		for _, alert := range alerts(t, "--set", "prometheusRule.enabled=true") {
			found = append(found, page+"#"+strings.ToLower(alert.Alert))
		}
		slices.Sort(found)
		return slices.Compact(found)
	}
	docs := func(page string) string { return "https://docs.example.com/" + page + ".html" }
	reasons := docs("reference/conditions")
	pages := []string{reasons, reasons + "#${__data.fields.reason}", docs("reference/response-flags")}
	tests := map[string]struct {
		set      string
		runbooks string
		others   []string
	}{
		"none without the URL of the documents": {set: "docsURL="},
		"to the pages of the documents": {
			"docsURL=https://docs.example.com/PAGE.html", docs("reference/alerts"), pages,
		},
		"to other runbooks": {
			"docsURL=https://docs.example.com/PAGE.html,prometheusRule.runbookURL=https://example.com/runbooks",
			"https://example.com/runbooks", pages,
		},
		"to other runbooks alone": {
			"prometheusRule.runbookURL=https://example.com/runbooks", "https://example.com/runbooks", nil,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var runbooks, others []string
			for _, url := range renderDashboard(t, "--set", test.set).links() {
				if test.runbooks != "" && strings.HasPrefix(url, test.runbooks+"#") {
					runbooks = append(runbooks, url)
				} else {
					others = append(others, url)
				}
			}
			if diff := cmp.Diff(test.others, others); diff != "" {
				t.Errorf("links (-want +got):\n%s", diff)
			}
			if (len(runbooks) > 0) != (test.runbooks != "") {
				t.Errorf("%d links to runbooks at %q", len(runbooks), test.runbooks)
			}
			known := headings(test.runbooks)
			for _, url := range runbooks {
				if !slices.Contains(known, url) {
					t.Errorf("%s is not the heading of an alert", url)
				}
			}
		})
	}
}

func TestTheClusterIsAVariableOnlyForSeveralClusters(t *testing.T) {
	const shown, hidden = 0, 2
	for set, want := range map[string]map[string]int{
		"dashboard.multicluster=false": {"datasource": shown, "cluster": hidden, "namespace": shown, "host": shown},
		"dashboard.multicluster=true":  {"datasource": shown, "cluster": shown, "namespace": shown, "host": shown},
	} {
		got := map[string]int{}
		for _, variable := range renderDashboard(t, "--set", set).Templating.List {
			if _, asked := want[variable.Name]; asked {
				got[variable.Name] = variable.Hide
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", set, diff)
		}
	}
}
