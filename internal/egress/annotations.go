package egress

// The annotations of a Pod, a Pod template or a workload. They are the whole contract with the
// user: every other setting lives in the EgressTarget.
const (
	// AnnotationPrefix is the prefix of all annotations and of the label LabelInjected.
	AnnotationPrefix = "mtls.egress/"
	// AnnotationTarget asks for targets: a comma-separated list of host or host:port, the port being
	// the partner's TLS port.
	AnnotationTarget = AnnotationPrefix + "target"
	// AnnotationSecret names the credential: one Secret for all targets, or a comma-separated list of
	// host=secret.
	AnnotationSecret = AnnotationPrefix + "secret"
	// AnnotationPropagated is written by the webhook on a Pod template: the annotations that it copied
	// there from the workload's own metadata, as a JSON object of name and value. What is not in it is
	// the user's and is never touched.
	AnnotationPropagated = AnnotationPrefix + "propagated"
	// AnnotationHost says, on a Secret that the credential commands made, for which host it is.
	AnnotationHost = AnnotationPrefix + "host"
	// AnnotationAllowedTargets lists, on a Namespace, the patterns of the hosts that the namespace may
	// reach besides those of the cluster's list, separated by commas. It means nothing on any other
	// object: whoever may annotate a Pod must not decide where it goes.
	AnnotationAllowedTargets = AnnotationPrefix + "allowed-targets"
)

// The labels that the webhook sets on Pods.
const (
	// LabelInjected is "true" on every Pod with a target; the controller's cache selects it.
	LabelInjected = AnnotationPrefix + "injected"
	// LabelHostPrefix is followed by a host: such a label is "true" on every Pod that asks for the
	// host. The Istio objects select it. See HostLabel.
	LabelHostPrefix = "to." + AnnotationPrefix
	// LabelValue is the value of every label that the webhook sets.
	LabelValue = "true"
)

// The label of everything that the controller makes. See MadeByController for what it says on an
// EgressTarget.
const (
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// ValueManagedBy is also the controller's field manager.
	ValueManagedBy = "mtls-egress-webhook"
)

// Finalizer keeps a deleted EgressTarget, and with it its objects, until no Pod of the host is
// left.
const Finalizer = AnnotationPrefix + "teardown"

// Limits of what one Pod may ask for. They bound the work of an admission request.
const (
	// MaxTargets is the number of targets that one Pod may have.
	MaxTargets = 16
	// MaxAnnotationBytes is the length of an annotation value that is read; longer ones are refused
	// unread.
	MaxAnnotationBytes = 8 << 10
)

// userAnnotations are the annotations that a user may write.
func userAnnotations() []string {
	return []string{AnnotationTarget, AnnotationSecret}
}

// ProxyContainer is the name that Istio gives its sidecar, be it a container or, as a native
// sidecar, an init container.
const ProxyContainer = "istio-proxy"
