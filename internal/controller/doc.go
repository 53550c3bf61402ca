// Package controller programs targets: labelled Pods bring forth an EgressTarget, an EgressTarget brings forth the Istio
// objects of its host, and what was found on the way stands in its status, in events and in metrics.
//
// Everything is decided by pure functions over what was read (demand.go, credentials.go, layout.go, plan.go, anchor.go,
// retention.go, status.go, transitions.go, schedule.go); the reconcilers read, call them, and write (egresstarget.go,
// program.go, teardown.go, secrets.go, conflicts.go, sidecar.go). versions.go and repairs.go remember what was written.
package controller
