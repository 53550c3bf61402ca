package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"

	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// rateInterval is the variable that Grafana puts the time into over which a rate can be told.
const rateInterval = "$__rate_interval"

// span is the time that is drawn.
type span struct {
	from, to time.Time
	// scrape is how often the Prometheus scrapes.
	scrape time.Duration
}

// maxPoints is about how many points a line of Grafana has.
const maxPoints = 400

// step is the time between two points of a line, Grafana's $__interval: never less than the interval of scrapes.
func (s span) step() time.Duration {
	return max(s.scrape, (s.to.Sub(s.from) / maxPoints).Round(time.Second))
}

// rateInterval is Grafana's $__rate_interval.
//
// https://grafana.com/docs/grafana/latest/datasources/prometheus/template-variables/#use-__rate_interval
func (s span) rateInterval() time.Duration {
	return max(s.step()+s.scrape, 4*s.scrape)
}

// result is what the queries of a panel brought.
type result struct{ series []series }

// series has the points of a line, or one value, and a name by the legend.
type series struct {
	name   string
	labels model.Metric
	points []model.SamplePair
}

func (s series) last() float64 { return float64(s.points[len(s.points)-1].Value) }

// ask returns what each panel of the dashboard shows, in their order.
func ask(ctx context.Context, prometheus promv1.API, board *dashboard, span span) ([]result, error) {
	results := make([]result, len(board.Panels))
	var problems []error
	for i, panel := range board.Panels {
		for _, target := range panel.Targets {
			query := strings.ReplaceAll(target.Expr, rateInterval, model.Duration(span.rateInterval()).String())
			found, err := answer(ctx, prometheus, query, target.Instant, span)
			if bare, ends := strings.CutSuffix(query, " or vector(0)"); ends && err == nil {
				_, err = answer(ctx, prometheus, bare, target.Instant, span)
			}
			if err != nil {
				problems = append(problems, fmt.Errorf("the panel %q, query %s: %w", panel.Title, target.RefID, err))
			}
			for _, one := range found {
				one.name = legend(target.LegendFormat, one.labels)
				results[i].series = append(results[i].series, one)
			}
		}
		if count := len(results[i].series); panel.Type == stat && count > 1 {
			problems = append(problems, fmt.Errorf("the panel %q: a stat shows one value, the query brings %d", panel.Title, count))
		}
	}
	return results, errors.Join(problems...)
}

// answer is what a query brings, without points that are no number.
func answer(ctx context.Context, prometheus promv1.API, query string, instant bool, span span) ([]series, error) {
	var value model.Value
	var warnings promv1.Warnings
	var err error
	if instant {
		value, warnings, err = prometheus.Query(ctx, query, span.to)
	} else {
		value, warnings, err = prometheus.QueryRange(ctx, query, promv1.Range{Start: span.from, End: span.to, Step: span.step()})
	}
	if err != nil {
		return nil, fmt.Errorf("refused by Prometheus: %s: %w", query, err)
	}
	if len(warnings) > 0 {
		return nil, fmt.Errorf("warned of by Prometheus: %s: %s", query, strings.Join(warnings, "; "))
	}
	var found []series
	add := func(labels model.Metric, points []model.SamplePair) {
		one := series{labels: labels}
		for _, point := range points {
			if !math.IsNaN(float64(point.Value)) && !math.IsInf(float64(point.Value), 0) {
				one.points = append(one.points, point)
			}
		}
		if len(one.points) > 0 {
			found = append(found, one)
		}
	}
	switch value := value.(type) {
	case model.Matrix:
		for _, one := range value {
			add(one.Metric, one.Values)
		}
	case model.Vector:
		for _, one := range value {
			add(one.Metric, []model.SamplePair{{Timestamp: one.Timestamp, Value: one.Value}})
		}
	default:
		return nil, fmt.Errorf("%s brings a %s, which no panel shows", query, value.Type())
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no data: %s", query)
	}
	return found, nil
}

// legend is the name of a series: the format with the values of its labels.
func legend(format string, labels model.Metric) string {
	name := regexp.MustCompile(`{{\s*(\w+)\s*}}`).ReplaceAllStringFunc(format, func(label string) string {
		return string(labels[model.LabelName(strings.Trim(label, "{} \t"))])
	})
	return strings.TrimSpace(name)
}
