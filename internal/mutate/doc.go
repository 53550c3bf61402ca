// Package mutate implements admission. It injects Pods (pod.go) and propagates the annotations of
// workloads to their Pod templates (workload.go). Everything except handler.go is a pure function
// from an object and the EgressTargets of its namespace to JSON patch operations. The offline
// commands therefore produce exactly what the webhook does.
package mutate
