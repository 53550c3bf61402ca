// Package egress is the domain model: what the annotations of a workload request (Intent), the
// result of combining that with the EgressTargets of the namespace (Target), and all names and
// addresses derived from a host. The package is pure: the admission webhook, the controller and the
// offline commands call the same functions.
package egress
