package egress

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// ProxyContainer is the name of Istio's sidecar container. A native sidecar is an init container of
// the same name.
const ProxyContainer = "istio-proxy"

// imageAuto is the image of a proxy container that only customizes the injected sidecar.
//
// https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/#customizing-injection
const imageAuto = "auto"

// HasSidecar reports whether the Pod has Istio's sidecar, as a container or as a native sidecar
// among the init containers.
func HasSidecar(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Containers, IsSidecar) ||
		slices.ContainsFunc(pod.Spec.InitContainers, IsSidecar)
}

// IsSidecar reports whether the container is Istio's sidecar itself, and not a customization of one
// that Istio still has to inject.
func IsSidecar(container corev1.Container) bool {
	return IsProxy(container) && container.Image != "" && container.Image != imageAuto
}

// IsProxy reports whether the container is Istio's sidecar or a customization of it.
func IsProxy(container corev1.Container) bool { return container.Name == ProxyContainer }
