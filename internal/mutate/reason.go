package mutate

import "k8s.io/apimachinery/pkg/util/validation/field"

// Reason is a short, stable reason for a rejection, for metrics and logs. An error of a Result
// carries it as Origin.
type Reason string

// Reasons of rejected objects.
const (
	// ReasonInvalidAnnotation means that a mtls.egress/ annotation is invalid.
	ReasonInvalidAnnotation Reason = "invalid-annotation"
	// ReasonTargetClash means that a target conflicts with another target or its EgressTarget in
	// its port, Secret or sinkhole address.
	ReasonTargetClash Reason = "target-clash"
	// ReasonHostNetwork means that the Pod uses the host network.
	ReasonHostNetwork Reason = "host-network"
	// ReasonInjectionOff means that the Pod disables its sidecar, or uses ambient mode or Windows,
	// which have none.
	ReasonInjectionOff Reason = "injection-off"
	// ReasonStaticPod means that the kubelet runs the Pod from a file.
	ReasonStaticPod Reason = "static-pod"
	// ReasonProxyUser means that a container runs as the sidecar's user or group.
	ReasonProxyUser Reason = "proxy-user"
	// ReasonHostsFile means that a container has a mount at /etc/hosts, or one that can keep
	// programs from reading that file.
	ReasonHostsFile Reason = "hosts-file"
	// ReasonTrafficAnnotation means that an Istio annotation makes calls bypass the sidecar.
	ReasonTrafficAnnotation Reason = "traffic-annotation"
	// ReasonHostAlias means that the user mapped a target's host to another address.
	ReasonHostAlias Reason = "host-alias"
	// ReasonReservedLabel means that a reserved label has another value.
	ReasonReservedLabel Reason = "reserved-label"
	// ReasonVolumeClash means that a volume or mount conflicts with one of the webhook, or that an
	// annotation with volumes is invalid.
	ReasonVolumeClash Reason = "volume-clash"
	// ReasonNotAllowed means that the namespace may not reach the host.
	ReasonNotAllowed Reason = "not-allowed"
	// ReasonNotProgrammed means that the objects of a target don't exist yet, in a mesh in which
	// calls could leave in plain text until then.
	ReasonNotProgrammed Reason = "not-programmed"
	// ReasonOther covers all other rejections.
	ReasonOther Reason = "other"
)

// Reasons of requests that could not be decided.
const (
	// ReasonUnreadable means that the object can't be decoded.
	ReasonUnreadable Reason = "unreadable"
	// ReasonLookupFailed means that reading an EgressTarget from the API server failed.
	ReasonLookupFailed Reason = "lookup-failed"
	// ReasonPanic means a bug in this program.
	ReasonPanic Reason = "panic"
)

// refusals returns all reasons that a Result can have.
func refusals() []Reason {
	return []Reason{
		ReasonInvalidAnnotation,
		ReasonTargetClash,
		ReasonHostNetwork,
		ReasonInjectionOff,
		ReasonStaticPod,
		ReasonProxyUser,
		ReasonHostsFile,
		ReasonTrafficAnnotation,
		ReasonHostAlias,
		ReasonReservedLabel,
		ReasonVolumeClash,
		ReasonNotAllowed,
		ReasonNotProgrammed,
		ReasonOther,
	}
}

// failures returns all reasons of requests that could not be decided.
func failures() []Reason {
	return []Reason{ReasonUnreadable, ReasonLookupFailed, ReasonPanic}
}

// because sets the reason of the errors that have none.
func because(reason Reason, errs field.ErrorList) field.ErrorList {
	for _, err := range errs {
		if err.Origin == "" {
			err.Origin = string(reason)
		}
	}
	return errs
}

// Reasons returns the distinct reasons of the errors, in the order of the errors.
func (r Result) Reasons() []Reason {
	known := map[Reason]bool{}
	for _, reason := range refusals() {
		known[reason] = true
	}
	var found []Reason
	seen := map[Reason]bool{}
	for _, err := range r.Errors {
		reason := Reason(err.Origin)
		if !known[reason] {
			reason = ReasonOther
		}
		if !seen[reason] {
			seen[reason] = true
			found = append(found, reason)
		}
	}
	return found
}
