// Package controller programs targets: labeled Pods bring forth an EgressTarget, an EgressTarget
// brings forth the Istio objects of its host, and what was found on the way stands in its status,
// in events and in metrics.
//
// The reconcilers read facts, have package plan decide, and have package apply write
// (egresstarget.go, anchor.go, secrets.go, conflicts.go). Others verify credentials
// (verification.go) and tell of Pods without a sidecar (sidecar.go). The rest says what is watched,
// and what the caches hold of it.
package controller
