// Package dashboard compares the chart's dashboard with Grafana's schema of dashboards.
package dashboard

import (
	"os"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// file is a link to the chart's file. The go command takes a result from its cache while the files
// in the module are unchanged, and looks at no others.
const file = "testdata/mtls-egress.json"

// TestTheDashboardConformsToTheSchema: every value has the type of its field, and fields of the
// dashboard, of queries and of the options of panels exist. Grafana fills in what is missing.
func TestTheDashboardConformsToTheSchema(t *testing.T) {
	plugins.RegisterDefaultPlugins() // the schemas of the panels and of the queries
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var board dashboard.Dashboard //nolint:staticcheck // the second schema is for Kubernetes objects of Grafana 12
	for _, problem := range problems(board.UnmarshalJSONStrict(content)) {
		if !strings.HasSuffix(problem, ": required field is missing from input") {
			t.Error(problem)
		}
	}
	for _, problem := range problems(board.Validate()) {
		t.Error(problem)
	}
	if len(board.Panels) == 0 {
		t.Error("the dashboard has no panel")
	}
}

// problems are the lines of an error.
func problems(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}
