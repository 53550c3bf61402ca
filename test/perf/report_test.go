package perf_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// reportEnvironment prints what the lines after it have in common, as go test does, and further keys with their values.
func reportEnvironment(b *testing.B, further ...string) {
	b.Helper()
	lines := append([]string{"goos: " + runtime.GOOS, "goarch: " + runtime.GOARCH, "pkg: mtls.egress/webhook/test/perf", "go: " + runtime.Version()}, further...)
	if _, err := fmt.Fprintln(os.Stdout, strings.Join(lines, "\n")); err != nil {
		b.Fatal(err)
	}
}

// report prints one line of results, as go test does: https://go.dev/design/14313-benchmark-format. Lines of the same name are
// samples, which benchstat summarises. The testing package can't do this: it takes all samples of one benchmark before it
// begins with the next, while contenders have to take turns.
func report(name string, operations int, figures map[string]float64) error {
	if procs := runtime.GOMAXPROCS(0); procs > 1 {
		name = fmt.Sprintf("%s-%d", name, procs)
	}
	_, err := fmt.Fprintf(os.Stdout, "%s\t%s\n", name, testing.BenchmarkResult{N: operations, Extra: figures})
	return err
}

// reported keeps the testing package from adding a line of its own for a benchmark whose lines are printed already.
func reported(b *testing.B) {
	b.Helper()
	b.SkipNow()
}
