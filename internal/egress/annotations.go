package egress

import "strings"

// The annotations of a Pod, Pod template or workload. They are the entire contract with app
// developers. All other settings live in the EgressTarget.
const (
	// AnnotationPrefix is the prefix of all annotations and of LabelInjected.
	AnnotationPrefix = "mtls.egress/"
	// AnnotationTarget requests targets: a comma-separated list of host or host:port, where port is
	// the TLS port of the external host.
	AnnotationTarget = AnnotationPrefix + "target"
	// AnnotationSecret names the credential: one Secret for all targets, or a comma-separated list
	// of host=secret.
	AnnotationSecret = AnnotationPrefix + "secret"
	// AnnotationPropagated is set by the webhook on a Pod template. It records the annotations that
	// the webhook copied from the workload's metadata, as a JSON object of name and value. All
	// other annotations belong to the user, and the webhook never changes them.
	AnnotationPropagated = AnnotationPrefix + "propagated"
	// AnnotationHost, on a Secret that the credential commands created, holds the host of the
	// credential.
	AnnotationHost = AnnotationPrefix + "host"
	// AnnotationAllowedTargets, on a Namespace, is a comma-separated list of patterns. They allow
	// hosts in addition to the cluster-wide list. The annotation has no effect on any other object,
	// because a user who can annotate a Pod must not decide which hosts it can reach.
	AnnotationAllowedTargets = AnnotationPrefix + "allowed-targets"
)

// AcceptancePrefix is the prefix of annotations that accept a finding of the command check. The ID
// of the rule follows, and the value is the reason. Admission and the controller ignore them.
const AcceptancePrefix = AnnotationPrefix + "accept-"

// IsAcceptance reports whether the key of an annotation accepts a finding.
func IsAcceptance(key string) bool { return strings.HasPrefix(key, AcceptancePrefix) }

// LabelProtection is the label of a Namespace that switches the protection of the generated objects
// off.
const LabelProtection = AnnotationPrefix + "protection"

// The labels that the webhook sets on Pods.
const (
	// LabelInjected is "true" on every Pod with a target. The controller's cache selects by it.
	LabelInjected = AnnotationPrefix + "injected"
	// LabelHostPrefix is the prefix of one label per requested host, set to "true" on the Pod. The
	// Istio objects select Pods by it. See HostLabel.
	LabelHostPrefix = "to." + AnnotationPrefix
	// LabelValue is the value of every label that the webhook sets.
	LabelValue = "true"
)

// LabelManagedBy is set on every object that the controller creates. On an EgressTarget, see
// MadeByController for its meaning.
const (
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ValueManagedBy is also the controller's field manager.
	ValueManagedBy = "mtls-egress-webhook"
)

// LabelInjection is the label of a Namespace with which Istio injects sidecars. Unlike its other
// labels, it is not in istio.io/api.
const LabelInjection = "istio-injection"

// Finalizer keeps a deleted EgressTarget and its objects until the last Pod of the host is gone.
const Finalizer = AnnotationPrefix + "teardown"

// Limits on what one Pod can request. They bound the work of an admission request.
const (
	// MaxTargets is the maximum number of targets of one Pod.
	MaxTargets = 16
	// MaxAnnotationBytes is the maximum length of an annotation value. Longer values are rejected
	// without being parsed.
	MaxAnnotationBytes = 8 << 10
)

// userAnnotations returns the annotations that users may set.
func userAnnotations() []string {
	return []string{AnnotationTarget, AnnotationSecret}
}
