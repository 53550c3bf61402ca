package egress

import (
	"slices"
	"strings"

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

// ProxyVersion returns the Istio version of the Pod's sidecar, as in 1.30.2: the tag of its image
// without the variant. It is "" if the Pod has no sidecar, or the tag is not a version.
func ProxyVersion(pod *corev1.Pod) string {
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if !IsSidecar(container) {
			continue
		}
		image, _, _ := strings.Cut(container.Image, "@")
		name := image[strings.LastIndexByte(image, '/')+1:]
		_, tag, _ := strings.Cut(name, ":")
		version, _, _ := strings.Cut(tag, "-")
		if strings.Count(version, ".") == 2 && strings.Trim(version, "0123456789.") == "" {
			return version
		}
	}
	return ""
}

// IsSidecar reports whether the container is Istio's sidecar itself, and not a customization of one
// that Istio still has to inject.
func IsSidecar(container corev1.Container) bool {
	return IsProxy(container) && container.Image != "" && container.Image != imageAuto
}

// IsProxy reports whether the container is Istio's sidecar or a customization of it.
func IsProxy(container corev1.Container) bool { return container.Name == ProxyContainer }
