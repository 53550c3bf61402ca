// Package egress is the domain: what the annotations of a workload ask for (Intent), what that
// means together with the EgressTargets of the namespace (Target), and every name and address that
// follows from a host. All of it is pure: the admission webhook, the controller and the offline
// commands call the same functions.
package egress
