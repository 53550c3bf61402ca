package mutate

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

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

// Reasons of warnings.
const (
	// ReasonUnknownAnnotation means that an annotation with our prefix has no effect.
	ReasonUnknownAnnotation Reason = "unknown-annotation"
	// ReasonTrafficDoubt means that an Istio annotation may keep calls from the sidecar.
	ReasonTrafficDoubt Reason = "traffic-doubt"
	// ReasonOverridden means that an annotation has no effect because another place has it too.
	ReasonOverridden Reason = "annotation-overridden"
	// ReasonImmutable means that the Pod template can't change anymore.
	ReasonImmutable Reason = "immutable-template"
	// ReasonRemoved means that an update removes the annotation from the Pod template, too.
	ReasonRemoved Reason = "annotation-removed"
	// ReasonOwnTLS means that the app calls a target with its own TLS.
	ReasonOwnTLS Reason = "own-tls"
	// ReasonOtherPort means that the app calls a target at another port than the app port.
	ReasonOtherPort Reason = "other-port"
	// ReasonForwardProxy means that the app sends calls to a forward proxy.
	ReasonForwardProxy Reason = "forward-proxy"
	// ReasonNetworkRights means that a container can change the network of the Pod.
	ReasonNetworkRights Reason = "network-rights"
	// ReasonServerFirst means that the app port belongs to a server-first protocol.
	ReasonServerFirst Reason = "server-first-port"
	// ReasonCertificate means that the client certificate ends soon or comes from a public CA.
	ReasonCertificate Reason = "certificate"
)

// Warning is a message to the user who applies the object.
type Warning struct {
	Reason Reason
	// Field is the path of the field, as in [field.Error]. It is empty for the whole object.
	Field   string
	Message string
}

// warningf returns a warning of the field at a path, which may be nil.
func warningf(reason Reason, at *field.Path, format string, args ...any) Warning {
	w := Warning{Reason: reason, Message: fmt.Sprintf(format, args...)}
	if at != nil {
		w.Field = at.String()
	}
	return w
}

// unknown returns the warnings of unknown annotations at a path.
func unknown(annotations []egress.UnknownAnnotation, at *field.Path) []Warning {
	var warnings []Warning
	for _, one := range annotations {
		warnings = append(warnings, warningf(ReasonUnknownAnnotation, at.Key(one.Key), "%s", one.Message))
	}
	return warnings
}

// Texts returns the messages of warnings.
func Texts(warnings []Warning) []string {
	var texts []string
	for _, warning := range warnings {
		texts = append(texts, warning.Message)
	}
	return texts
}

// ReasonsOfWarnings returns all reasons that a warning can have.
func ReasonsOfWarnings() []Reason {
	return []Reason{
		ReasonUnknownAnnotation, ReasonTrafficDoubt, ReasonOverridden, ReasonImmutable, ReasonRemoved, ReasonOwnTLS,
		ReasonOtherPort, ReasonForwardProxy, ReasonNetworkRights, ReasonServerFirst, ReasonCertificate,
		ReasonInjectionOff, ReasonNotProgrammed, ReasonOther,
	}
}

// Refusals returns all reasons that an error of a Result can have.
func Refusals() []Reason {
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
	for _, reason := range Refusals() {
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
