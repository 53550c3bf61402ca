package mutate

import (
	"strings"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

// rightsWarnings warns of containers with privileges to change the network of the Pod, including
// the redirection of calls to the sidecar. In an injected Pod, the sidecar and Istio's init
// containers are exempt.
func rightsWarnings(pod *corev1.Pod, spec *field.Path) []Warning {
	_, injected := pod.Annotations[annotation.SidecarStatus.Name]
	var warnings []Warning
	for container, at := range containersOf(pod, spec) {
		if injected && (egress.IsProxy(*container) || isIstioInit(*container)) {
			continue
		}
		if right := rightOverNetwork(container.SecurityContext); right != "" {
			warnings = append(warnings, warningf(ReasonNetworkRights, at().Child("securityContext"),
				"container %s: %s, so it can change or bypass the redirection of calls to the sidecar; a "+
					"call that bypasses the sidecar has no mutual TLS. "+
					"Remove the privilege if the container doesn't need it", container.Name, right))
		}
	}
	return warnings
}

// rightOverNetwork returns the container's privilege, or "" if it has none. Container runtimes
// accept capabilities in any case, with or without the prefix CAP_.
func rightOverNetwork(context *corev1.SecurityContext) string {
	if context == nil {
		return ""
	}
	if context.Privileged != nil && *context.Privileged {
		return "is privileged"
	}
	if context.Capabilities == nil {
		return ""
	}
	for _, capability := range context.Capabilities.Add {
		switch name := strings.TrimPrefix(strings.ToUpper(string(capability)), "CAP_"); name {
		case "ALL", "NET_ADMIN", "NET_RAW", "SYS_ADMIN":
			return "has " + name
		}
	}
	return ""
}
