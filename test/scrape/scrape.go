// Package scrape reads in tests what a /metrics page says.
package scrape

import (
	"bytes"
	"fmt"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Sum is the sum of a counter or gauge, or of what a histogram observed, over those of its series
// on a page of metrics that have the labels, and 0 if the page has none. The page is in the text
// format of Prometheus.
func Sum(page []byte, name string, labels map[string]string) (float64, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		return 0, fmt.Errorf("reading the metrics: %w", err)
	}
	var sum float64
	for _, metric := range families[name].GetMetric() {
		found := map[string]string{}
		for _, label := range metric.GetLabel() {
			found[label.GetName()] = label.GetValue()
		}
		matches := true
		for label, value := range labels {
			matches = matches && found[label] == value
		}
		if matches {
			sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + metric.GetHistogram().GetSampleSum()
		}
	}
	return sum, nil
}
