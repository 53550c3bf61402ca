// Package live reads the facts of an explanation from a cluster and from a sidecar, with the rights
// of its caller. What can't be read is left out, with the reason.
package live
