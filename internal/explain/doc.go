// Package explain finds the cause of failing calls. It walks from the annotation of a Pod to the
// partner's answer, step by step, and the first step that fails decides the result. The package is
// pure: its callers read the cluster and the sidecar, and say what they could not read.
package explain
