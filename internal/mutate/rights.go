package mutate

import (
	"fmt"
	"strings"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/egress"
)

// rightsWarnings warns of containers with privileges to change the network of the Pod, including
// the redirection of calls to the sidecar. In an injected Pod, the sidecar and Istio's init
// containers are exempt.
func rightsWarnings(pod *corev1.Pod) []string {
	_, injected := pod.Annotations[annotation.SidecarStatus.Name]
	var warnings []string
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			if injected && (egress.IsProxy(containers[i]) || isIstioInit(containers[i])) {
				continue
			}
			if right := rightOverNetwork(containers[i].SecurityContext); right != "" {
				warnings = append(
					warnings,
					fmt.Sprintf(
						"container %s: %s, so it can change or bypass the redirection of calls to the sidecar; a "+
							"call that bypasses the sidecar has no mutual TLS. "+
							"Remove the privilege if the container doesn't need it", containers[i].Name, right),
				)
			}
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
