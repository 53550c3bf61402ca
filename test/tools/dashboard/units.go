package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// unit is a unit of Grafana: its scales, from small to large.
//
// https://grafana.com/docs/grafana/latest/panels-visualizations/configure-standard-options/#unit
type unit []scale

// scale is how values are written from one on: divided by a factor, with a suffix.
type scale struct {
	from, factor float64
	suffix       string
}

var units = map[string]unit{
	"short":       {{0, 1, ""}, {1e3, 1e3, " K"}, {1e6, 1e6, " Mil"}},
	"reqps":       {{0, 1, " req/s"}, {1e3, 1e3, "K req/s"}},
	"ops":         {{0, 1, " ops/s"}, {1e3, 1e3, "K ops/s"}},
	"percentunit": {{0, 0.01, "%"}},
	"bytes":       {{0, 1, " B"}, {1 << 10, 1 << 10, " KiB"}, {1 << 20, 1 << 20, " MiB"}, {1 << 30, 1 << 30, " GiB"}},
	"s": {
		{0, 1e-9, " ns"}, {1e-6, 1e-6, " µs"}, {1e-3, 1e-3, " ms"}, {1, 1, " s"}, {60, 60, " mins"}, {3600, 3600, " hours"}, {86400, 86400, " days"},
		{7 * 86400, 7 * 86400, " weeks"}, {365 * 86400, 365 * 86400, " years"},
	},
}

func unitOf(name string) (unit, error) {
	if found, known := units[name]; known {
		return found, nil
	}
	var known []string
	for name := range units {
		known = append(known, name)
	}
	slices.Sort(known)
	return nil, fmt.Errorf("the unit %q is unknown, want one of %q", name, known)
}

// scaleOf is the scale that a value is written in.
func (u unit) scaleOf(value float64) scale {
	found := u[0]
	for _, one := range u {
		if math.Abs(value) >= one.from {
			found = one
		}
	}
	return found
}

// text is a value as a person reads it.
func (u unit) text(value float64) string {
	scale := u.scaleOf(value)
	if value == 0 && len(u) > 3 && u[3].factor == 1 { // of seconds, none
		scale = u[3]
	}
	return scale.text(value)
}

// text has three significant digits.
func (s scale) text(value float64) string {
	value /= s.factor
	digits := 0
	if size := math.Abs(value); size < 10 {
		digits = 2
	} else if size < 100 {
		digits = 1
	}
	text := strconv.FormatFloat(value, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text + s.suffix
}

// ticks are about five round values from low to high, both in the range.
func (u unit) ticks(low, high float64) (values []float64, labels []string) {
	scale := u.scaleOf(max(math.Abs(low), math.Abs(high)))
	low, high = low/scale.factor, high/scale.factor
	step := roundStep((high - low) / 4)
	for at := math.Floor(low / step); ; at++ {
		value := at * step
		values = append(values, value*scale.factor)
		labels = append(labels, scale.text(value*scale.factor))
		if value >= high-step*1e-9 {
			return values, labels
		}
	}
}

// roundStep is the next of …, 0.5, 1, 2, 5, 10, … from a value on.
func roundStep(least float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(least)))
	for _, factor := range []float64{1, 2, 5} {
		if step := factor * power; step >= least*(1-1e-9) {
			return step
		}
	}
	return 10 * power
}
