// Package perf_test measures what takes whole processes: the creation of Pods on a real API server,
// and the command. The other benchmarks are beside the code that they measure.
// docs/project/performance.md explains the figures and how they get there.
package perf_test
