package mutate

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// rightsWarnings names the containers whose rights let them change the network of the Pod, and with
// it what leads calls to the sidecar. The sidecar and Istio's own init containers have such rights
// in a Pod that Istio injected.
func rightsWarnings(pod *corev1.Pod) []string {
	_, injected := pod.Annotations[annotationStatus]
	var warnings []string
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			if injected && (isProxy(containers[i]) || isIstioInit(containers[i])) {
				continue
			}
			if right := rightOverNetwork(containers[i].SecurityContext); right != "" {
				warnings = append(warnings, fmt.Sprintf("container %s: %s, and can change or pass the rules that lead calls to the sidecar; a call that misses the sidecar has no mutual TLS. "+
					"Take the right away if the container doesn't need it", containers[i].Name, right))
			}
		}
	}
	return warnings
}

// rightOverNetwork says which right a container has, "" when it has none. Runtimes read
// capabilities in any case, with CAP_ or without.
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
