// Package render does without a cluster what admission and the controller do in one: manifests go
// in, and out come the same manifests as admission would leave them, the Pods that they make, and
// the Istio objects of their targets. It is pure; the command around it reads and writes.
package render
