package mutate

import "k8s.io/apimachinery/pkg/util/validation/field"

// Reason says in one word why an object was refused, for metrics and logs. There is a fixed number
// of them. An error of a Result carries its reason as Origin.
type Reason string

// The reasons of refused objects.
const (
	// ReasonInvalidAnnotation is an annotation of ours that can't be read.
	ReasonInvalidAnnotation Reason = "invalid-annotation"
	// ReasonTargetClash is a target that contradicts another one or its EgressTarget: in its port, its
	// Secret or its sinkhole address.
	ReasonTargetClash Reason = "target-clash"
	// ReasonHostNetwork is a Pod in the host's network.
	ReasonHostNetwork Reason = "host-network"
	// ReasonInjectionOff is a Pod that switches its sidecar off, or asks for ambient mode or Windows,
	// where it has none.
	ReasonInjectionOff Reason = "injection-off"
	// ReasonStaticPod is a Pod that the kubelet runs from a file.
	ReasonStaticPod Reason = "static-pod"
	// ReasonProxyUser is a container that runs as the sidecar's user or in its group.
	ReasonProxyUser Reason = "proxy-user"
	// ReasonHostsFile is a container with a mount of its own at /etc/hosts, or where it can keep
	// programs from reading that file.
	ReasonHostsFile Reason = "hosts-file"
	// ReasonTrafficAnnotation is an annotation of Istio's that leads the calls past the sidecar.
	ReasonTrafficAnnotation Reason = "traffic-annotation"
	// ReasonHostAlias is an address of the user's for a target's host.
	ReasonHostAlias Reason = "host-alias"
	// ReasonReservedLabel is a label of ours with another value.
	ReasonReservedLabel Reason = "reserved-label"
	// ReasonVolumeClash is a volume or mount in the way of ours, or an annotation of volumes that
	// can't be read.
	ReasonVolumeClash Reason = "volume-clash"
	// ReasonNotAllowed is a host that the namespace may not reach.
	ReasonNotAllowed Reason = "not-allowed"
	// ReasonNotProgrammed is a target without its objects, in a mesh in which calls could leave in
	// plain text until they stand.
	ReasonNotProgrammed Reason = "not-programmed"
	// ReasonOther is every refusal that has no reason of its own.
	ReasonOther Reason = "other"
)

// The reasons of requests that could not be judged.
const (
	// ReasonUnreadable is an object that can't be decoded.
	ReasonUnreadable Reason = "unreadable"
	// ReasonLookupFailed is an EgressTarget that the API server didn't give out.
	ReasonLookupFailed Reason = "lookup-failed"
	// ReasonPanic is a mistake in this program.
	ReasonPanic Reason = "panic"
)

// refusals are all reasons that a Result can have.
func refusals() []Reason {
	return []Reason{ReasonInvalidAnnotation, ReasonTargetClash, ReasonHostNetwork, ReasonInjectionOff, ReasonStaticPod, ReasonProxyUser, ReasonHostsFile,
		ReasonTrafficAnnotation, ReasonHostAlias, ReasonReservedLabel, ReasonVolumeClash, ReasonNotAllowed, ReasonNotProgrammed, ReasonOther}
}

// failures are all reasons of requests that could not be judged.
func failures() []Reason {
	return []Reason{ReasonUnreadable, ReasonLookupFailed, ReasonPanic}
}

// because gives the reason to the errors that have none.
func because(reason Reason, errs field.ErrorList) field.ErrorList {
	for _, err := range errs {
		if err.Origin == "" {
			err.Origin = string(reason)
		}
	}
	return errs
}

// Reasons are those of the errors, each once, in the order of the errors.
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
