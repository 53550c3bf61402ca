package plan

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/policy"
)

// Facts are all inputs of the decision about one target. Facts that could not be read are left out:
// the policy and the conflicts are enough for a decision to close.
type Facts struct {
	// EgressTarget is the target's EgressTarget with its current status.
	EgressTarget *v1alpha1.EgressTarget
	// Siblings are the other targets of the namespace, without deleted ones that have no Pods.
	Siblings []egress.Target
	// Demands are the demands of the target's Pods. Credentials are the checks of the Secrets that
	// they present, by name.
	Demands     []Demand
	Credentials []CredentialCheck
	// Standing is the credential that the target's DestinationRule configures now, or nil if the
	// controller owns none.
	Standing *Standing
	// MissingKinds are the Istio kinds that the API server doesn't serve. If there are any, nothing
	// can be programmed, and Others and Standing are unknown.
	MissingKinds []string
	// Others are the objects that can conflict with those of the target, and the target's own objects.
	Others mesh.Others
	// Policy is the decision whether the namespace may reach the host, or nil if it is unknown.
	Policy *policy.Decision
	// EndpointProblems are those of the target's endpoints. See policy.Rules.EndpointProblems.
	EndpointProblems []policy.EndpointProblem
	// Issued is the condition CertificateIssued, or nil if the target names no issuer.
	Issued *Condition
	// IssuedUnseen reports whether Issued can change without a watch event.
	IssuedUnseen bool
	// UnusedSince is the time since which an EgressTarget that the controller created has no Pods. It
	// is nil while there are Pods, and for an EgressTarget of a user.
	UnusedSince *metav1.Time
	// Sinkhole are the ranges of the sinkhole addresses.
	Sinkhole egress.Sinkhole
	// Warnings are the warning periods before a certificate expires.
	Warnings ExpiryWarnings
	Now      time.Time
}
