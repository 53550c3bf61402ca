package controller

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"mtls.egress/webhook/internal/apply"
	"mtls.egress/webhook/internal/informers"
)

// TestAlertsAskForMetricsThatThereAre compares the names and labels in the chart's alerts with
// those of the collectors. test/chart tests the alerts themselves.
func TestAlertsAskForMetricsThatThereAre(t *testing.T) {
	const path = "../../charts/mtls-egress-webhook/templates/prometheusrule.yaml"
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	described := descriptions(t)
	var asked int
	metrics := regexp.MustCompile(`(?:by \(([^)]*)\) \()?(mtls_egress_\w+)`)
	for _, match := range metrics.FindAllStringSubmatch(string(content), -1) {
		labels, name := match[1], match[2]
		if strings.HasPrefix(name, "mtls_egress_admission_") || strings.HasPrefix(name, "mtls_egress_serving_") {
			continue // metrics of other packages; test/alerts makes every alert fire
		}
		asked++
		if want, there := described[name]; !there {
			t.Errorf("%s uses %s, which the controller doesn't report; it has %v", path, name, described)
		} else if name == "mtls_egress_target_owner" {
			continue // it is joined, and not aggregated
		} else if diff := cmp.Diff(want, labels); diff != "" {
			t.Errorf("%s aggregates %s by other labels than it has (-has +asked):\n%s", path, name, diff)
		}
	}
	if asked == 0 {
		t.Errorf("%s uses no metric", path)
	}
}

// descriptions returns the labels of each metric by name.
func descriptions(t *testing.T) map[string]string {
	t.Helper()
	sent := make(chan *prometheus.Desc)
	go func() {
		defer close(sent)
		newCollector(informers.Cache{}, nil, nil).Describe(sent)
		newSurvey(nil, nil, nil, nil, 0).Describe(sent)
		apply.NewWriter(apply.Writer{}).Repairs().Describe(sent)
	}()
	found := map[string]string{}
	for description := range sent {
		match := regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`).FindStringSubmatch(description.String())
		if match == nil {
			t.Fatalf("client_golang describes a metric in another way: %s", description)
		}
		found[match[1]] = strings.ReplaceAll(match[2], ",", ", ")
	}
	return found
}
