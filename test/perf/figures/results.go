package main

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// results are those of a run, in Go's benchmark format:
// https://go.dev/design/14313-benchmark-format.
type results struct {
	// environment are the lines KEY: VALUE; of several values of a key, the last.
	environment map[string]string
	// figures are the samples, by benchmark and unit.
	figures map[string]map[string]samples
}

// procs is what go test appends to a name: the number of processors, unless that is one.
var procs = regexp.MustCompile(`-([0-9]+)$`)

func parse(text string) results {
	found := results{environment: map[string]string{}, figures: map[string]map[string]samples{}}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if key, value, is := strings.Cut(strings.TrimSpace(line), ": "); is && !strings.Contains(key, " ") {
			found.environment[key] = strings.TrimSpace(value)
		}
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		if match := procs.FindStringSubmatch(words[0]); match != nil {
			found.environment["procs"] = match[1]
		}
		name := procs.ReplaceAllString(words[0], "")
		if found.figures[name] == nil {
			found.figures[name] = map[string]samples{}
		}
		for at := 2; at+1 < len(words); at += 2 {
			if value, err := strconv.ParseFloat(words[at], 64); err == nil {
				found.figures[name][words[at+1]] = append(found.figures[name][words[at+1]], value)
			}
		}
	}
	return found
}

// samples of one figure; never empty.
type samples []float64

func (s samples) median() float64 {
	sorted := slices.Sorted(slices.Values(s))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// text is the median and, of several samples, the least and the most.
func (s samples) text(unit string) string {
	if len(s) == 1 {
		return quantity(s[0], unit)
	}
	return quantity(s.median(), unit) + " (" + quantity(slices.Min(s), unit) + " to " + quantity(slices.Max(s), unit) + ")"
}
