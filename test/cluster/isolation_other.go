//go:build !linux

package cluster

// cgroupVariable is set on Linux only.
const cgroupVariable = "MTLS_EGRESS_CGROUP"

// Isolate calls run: there are no namespaces here, and no cluster without them.
func Isolate(run func() int) int { return run() }

func isolated() bool { return false }

func mayIsolate() bool { return false }
