package plan

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/policy"
)

// Facts are everything that a decision about one target depends on. What could not be read is left
// out: a decision to close needs the policy and the conflicts alone.
type Facts struct {
	// EgressTarget is the one of the target, with the status that it has now.
	EgressTarget *v1alpha1.EgressTarget
	// Siblings are the other targets of the namespace, without those that are deleted and have no Pod
	// left.
	Siblings []egress.Target
	// Demands are those of the Pods that have the target, Credentials the Secrets that they present,
	// by name.
	Demands     []Demand
	Credentials []CredentialCheck
	// Standing is what the DestinationRule of the target makes sidecars present now; nil without one
	// of ours.
	Standing *Standing
	// MissingKinds are the kinds of Istio that the API server doesn't serve. With any, nothing can be
	// programmed, and Others and Standing are unknown.
	MissingKinds []string
	// Others are the objects that may stand in the way of those of the target, its own among them.
	Others mesh.Others
	// Policy reports whether the namespace may reach the host; nil if that isn't known.
	Policy *policy.Decision
	// Issued is what the condition CertificateIssued says; nil if nobody asks cert-manager for
	// anything.
	Issued *Condition
	// IssuedUnseen reports whether Issued may change without an event that tells of it.
	IssuedUnseen bool
	// UnusedSince is since when a target that the controller made has no Pod; nil while it has one,
	// and for a user's.
	UnusedSince *metav1.Time
	// Warnings are how long before its end a certificate is warned of.
	Warnings ExpiryWarnings
	Now      time.Time
}
