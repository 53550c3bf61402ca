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

// TestAlertsAskForMetricsThatThereAre holds the names and labels in the chart's alerts against what
// the collector describes. What the alerts make of them is tried in test/chart.
func TestAlertsAskForMetricsThatThereAre(t *testing.T) {
	const path = "../../charts/mtls-egress-webhook/templates/prometheusrule.yaml"
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	described := descriptions(t)
	var asked int
	for _, match := range regexp.MustCompile(`(?:by \(([^)]*)\) \()?(mtls_egress_\w+)`).FindAllStringSubmatch(string(content), -1) {
		labels, name := match[1], match[2]
		if strings.HasPrefix(name, "mtls_egress_admission_") || strings.HasPrefix(name, "mtls_egress_serving_") {
			continue // of other rooms; test/alerts makes every alert fire
		}
		asked++
		if want, there := described[name]; !there {
			t.Errorf("%s asks for %s, which the controller doesn't report; it has %v", path, name, described)
		} else if diff := cmp.Diff(want, labels); diff != "" {
			t.Errorf("%s sums %s up by labels other than it has, which would mix several or say less (-has +asked):\n%s", path, name, diff)
		}
	}
	if asked == 0 {
		t.Errorf("%s asks for no metric", path)
	}
}

// descriptions are the labels of each metric by its name.
func descriptions(t *testing.T) map[string]string {
	t.Helper()
	sent := make(chan *prometheus.Desc)
	go func() {
		defer close(sent)
		newCollector(informers.Cache{}, nil).Describe(sent)
		newSurvey(nil, 0).Describe(sent)
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
