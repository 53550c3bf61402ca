package alerts

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hasPanels asks each query of the dashboard over the time of the test: what the causes of the alerts brought forth fills every panel.
func (s *server) hasPanels(t *testing.T, root string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "charts", "mtls-egress-webhook", "files", "dashboards", "mtls-egress.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Type, Title string
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(content, &dashboard); err != nil {
		t.Fatal(err)
	}
	queries := 0
	for _, panel := range dashboard.Panels {
		if panel.Type != "row" && len(panel.Targets) == 0 {
			t.Errorf("the panel %q asks for nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			queries++
			query := strings.ReplaceAll(target.Expr, "$__rate_interval", "10s")
			series, _, err := s.query(t.Context(), fmt.Sprintf("count_over_time((%s)[30m:1s]) > 0", query))
			if err != nil || len(series) == 0 {
				t.Errorf("the panel %q is empty (error %v): %s", panel.Title, err, query)
			}
		}
	}
	if queries == 0 {
		t.Error("the dashboard asks for nothing")
	}
}
