// Package adopt takes over hand-written mutual TLS to external hosts: it reads the Istio objects
// and workloads of a host, proposes the EgressTarget and the annotations that take their place, and
// orders the steps in which they do so without losing a call.
//
// The package is pure: its callers read files and clusters, and do what the steps say.
package adopt
