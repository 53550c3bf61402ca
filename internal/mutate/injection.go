package mutate

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/target"
)

// labelInject switches Istio's injection of one Pod; as an annotation it is the older form, which the label overrides.
const labelInject = "sidecar.istio.io/inject"

// checkInjection refuses Pods that can't get a sidecar, as their calls could only end at the sinkhole. A Pod that carries
// the sidecar already needs no injection.
func checkInjection(pod *corev1.Pod, metadata, spec *field.Path) field.ErrorList {
	var errs field.ErrorList
	if pod.Spec.HostNetwork {
		errs = append(errs, target.Invalid(spec.Child("hostNetwork"), "true", fmt.Sprintf(
			"a Pod in the host's network gets no sidecar, which %s needs; take hostNetwork away or the annotation", target.AnnotationTarget)))
	}
	if hasProxy(pod) {
		return errs
	}
	if value, labelled := pod.Labels[labelInject]; labelled {
		if switchesOff(value) {
			errs = append(errs, injectionOff(metadata.Child("labels"), value))
		}
		return errs
	}
	if value, annotated := pod.Annotations[labelInject]; annotated && switchesOff(value) {
		errs = append(errs, injectionOff(metadata.Child("annotations"), value))
	}
	return errs
}

// switchesOff reads a value as injectRequired in Istio's injector does: four words mean yes, the empty one leaves it to the
// namespace, any other means no. https://github.com/istio/istio/blob/master/pkg/kube/inject/inject.go
func switchesOff(value string) bool {
	return value != "" && !slices.Contains([]string{"y", "yes", "true", "on"}, strings.ToLower(value))
}

func injectionOff(at *field.Path, value string) *field.Error {
	return target.Invalid(at.Key(labelInject), value, fmt.Sprintf(
		"switches the sidecar off, which %s needs; write \"true\" or take it away", target.AnnotationTarget))
}

// hasProxy says whether Istio's sidecar is in the Pod, as a container or as a native sidecar among the init containers.
func hasProxy(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Containers, isProxy) || slices.ContainsFunc(pod.Spec.InitContainers, isProxy)
}

func isProxy(container corev1.Container) bool {
	return container.Name == target.ProxyContainer
}
