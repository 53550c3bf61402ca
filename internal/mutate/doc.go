// Package mutate is what admission does to an object: it injects Pods (pod.go) and propagates the
// annotations of workloads to their Pod templates (workload.go). Everything but handler.go is a
// pure function from an object and the EgressTargets of its namespace to JSON-patch operations, so
// that the offline commands do exactly what the webhook does.
package mutate
