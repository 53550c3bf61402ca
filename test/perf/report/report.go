// Package report prints what benchmarks measured that take turns, in Go's benchmark format:
// https://go.dev/design/14313-benchmark-format.
package report

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// Environment prints what the lines after it have in common, as go test does: the package, and
// further keys with their values, as in "kubernetes: v1.36.3".
func Environment(pkg string, further ...string) error {
	lines := append(
		[]string{"goos: " + runtime.GOOS, "goarch: " + runtime.GOARCH, "pkg: " + pkg, "go: " + runtime.Version()},
		further...)
	_, err := fmt.Fprintln(os.Stdout, strings.Join(lines, "\n"))
	return err
}

// Line prints one line of results, as go test does. Lines of the same name are samples, which
// benchstat summarizes. The testing package can't do this: it takes all samples of one benchmark
// before it begins with the next, while contenders have to take turns.
func Line(name string, operations int, figures map[string]float64) error {
	if procs := runtime.GOMAXPROCS(0); procs > 1 {
		name = fmt.Sprintf("%s-%d", name, procs)
	}
	_, err := fmt.Fprintf(os.Stdout, "%s\t%s\n", name, testing.BenchmarkResult{N: operations, Extra: figures})
	return err
}
