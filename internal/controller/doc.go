// Package controller programs targets. For labeled Pods it creates an EgressTarget, and for an
// EgressTarget it writes the Istio objects of its host. It reports the results in the status, in
// events and in metrics.
//
// EgressTargetReconciler reads facts, lets package plan decide, and lets package apply write
// (egresstarget.go, facts.go). Other reconcilers verify credentials (verification.go) and report
// Pods without a sidecar (sidecar.go). The remaining files define the watches and the metrics.
package controller
