//go:build !linux

package cluster

// Isolate calls run: there are no namespaces here, and no cluster without them.
func Isolate(run func() int) int { return run() }
