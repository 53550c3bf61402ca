package mutate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

// labelInject switches Istio's injection of one Pod; as an annotation it is the older form, which
// the label overrides.
const labelInject = "sidecar.istio.io/inject"

// The annotations that say where a Pod comes from.
const (
	// annotationStatus is written by Istio's injector.
	annotationStatus = "sidecar.istio.io/status"
	// annotationMirror is on the API server's image of a static Pod, which the kubelet runs from a
	// file.
	annotationMirror = "kubernetes.io/config.mirror"
)

// proxyUser is the user of the sidecar, and its group. Istio lets the calls of both pass, as they
// would otherwise go in circles.
const proxyUser = 1337

// labelDataplane puts a Pod into Istio's ambient mode.
// https://istio.io/latest/docs/reference/config/labels/#IoIstioDataplaneMode
const (
	labelDataplane = "istio.io/dataplane-mode"
	ambient        = "ambient"
)

// imageAuto is the image of an istio-proxy container that only holds settings for the one that will
// be injected.
// https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/#customizing-injection
const imageAuto = "auto"

// checkPod refuses Pods whose calls no sidecar would take over, or in whose containers the sinkhole
// address would not count.
func checkPod(pod *corev1.Pod, at *field.Path) field.ErrorList {
	errs := checkInjection(pod, at)
	if value, mirror := pod.Annotations[annotationMirror]; mirror {
		errs = append(errs, egress.Invalid(at.Child("metadata", "annotations").Key(annotationMirror), value, fmt.Sprintf(
			"a static Pod runs from a file of the kubelet's, and nothing that is added here reaches it; take %s out of that file, and run the Pod through the API server if it needs it", egress.AnnotationTarget)).WithOrigin(string(ReasonStaticPod)))
	}
	errs = append(errs, checkWindows(&pod.Spec, at.Child("spec"))...)
	if context := pod.Spec.SecurityContext; context != nil {
		errs = append(errs, checkUser(context.RunAsUser, context.RunAsGroup, func() *field.Path { return at.Child("spec") })...)
	}
	errs = append(errs, checkContainers(pod.Spec.InitContainers, at, "initContainers")...)
	return append(errs, checkContainers(pod.Spec.Containers, at, "containers")...)
}

func checkContainers(containers []corev1.Container, at *field.Path, name string) field.ErrorList {
	var errs field.ErrorList
	for i := range containers {
		// Made only for a problem, of which there is mostly none.
		container := func() *field.Path { return at.Child("spec", name).Index(i) }
		errs = append(errs, checkMounts(containers[i].VolumeMounts, container)...)
		if isProxy(containers[i]) || isIstioInit(containers[i]) {
			continue
		}
		if context := containers[i].SecurityContext; context != nil {
			errs = append(errs, checkUser(context.RunAsUser, context.RunAsGroup, container)...)
		}
	}
	return errs
}

// checkUser refuses the sidecar's user and group in the securityContext of a Pod or a container.
func checkUser(user, group *int64, at func() *field.Path) field.ErrorList {
	var errs field.ErrorList
	refuse := func(name, what string) {
		errs = append(errs, egress.Invalid(at().Child("securityContext", name), strconv.Itoa(proxyUser), "is the sidecar's own "+what+", whose calls Istio leads past the sidecar; take another one").WithOrigin(string(ReasonProxyUser)))
	}
	if user != nil && *user == proxyUser {
		refuse("runAsUser", "user")
	}
	if group != nil && *group == proxyUser {
		refuse("runAsGroup", "group")
	}
	return errs
}

// checkWindows refuses Pods that ask for Windows.
func checkWindows(spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	refuse := func(at *field.Path) {
		errs = append(errs, egress.Invalid(at, string(corev1.Windows), fmt.Sprintf(
			"Istio has no sidecar for Windows, which %s needs; run the Pod on Linux or remove the annotation", egress.AnnotationTarget)).WithOrigin(string(ReasonInjectionOff)))
	}
	if spec.OS != nil && spec.OS.Name == corev1.Windows {
		refuse(at.Child("os", "name"))
	}
	for _, label := range osLabels() {
		if spec.NodeSelector[label] == string(corev1.Windows) {
			refuse(at.Child("nodeSelector").Key(label))
		}
	}
	if spec.Affinity != nil && spec.Affinity.NodeAffinity != nil && needsWindows(spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution) {
		refuse(at.Child("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"))
	}
	return errs
}

// osLabels are the labels of nodes that name their operating system.
func osLabels() []string { return []string{corev1.LabelOSStable, "beta." + corev1.LabelOSStable} }

// needsWindows reports whether a node must run Windows to be selected. Terms are alternatives, and
// one that is empty selects no node.
// https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#node-affinity
func needsWindows(selector *corev1.NodeSelector) bool {
	return selector != nil && len(selector.NodeSelectorTerms) > 0 &&
		!slices.ContainsFunc(selector.NodeSelectorTerms, func(term corev1.NodeSelectorTerm) bool {
			return !slices.ContainsFunc(term.MatchExpressions, func(asked corev1.NodeSelectorRequirement) bool {
				return slices.Contains(osLabels(), asked.Key) && asked.Operator == corev1.NodeSelectorOpIn &&
					slices.Equal(asked.Values, []string{string(corev1.Windows)})
			})
		})
}

// checkInjection refuses Pods that can't get a sidecar, as their calls could only end at the
// sinkhole. A Pod that carries the sidecar already needs no injection.
func checkInjection(pod *corev1.Pod, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if pod.Spec.HostNetwork {
		errs = append(errs, egress.Invalid(at.Child("spec", "hostNetwork"), "true", fmt.Sprintf(
			"a Pod in the host's network gets no sidecar, which %s needs; take hostNetwork away or the annotation", egress.AnnotationTarget)).WithOrigin(string(ReasonHostNetwork)))
	}
	if _, injected := pod.Annotations[annotationStatus]; injected || hasProxy(pod) {
		return errs
	}
	if value, labeled := pod.Labels[labelInject]; labeled {
		if switchesOff(value) {
			errs = append(errs, injectionOff(at.Child("metadata", "labels"), value))
		}
		return errs
	}
	if value, annotated := pod.Annotations[labelInject]; annotated && switchesOff(value) {
		errs = append(errs, injectionOff(at.Child("metadata", "annotations"), value))
	}
	if pod.Labels[labelDataplane] == ambient {
		errs = append(errs, egress.Invalid(at.Child("metadata", "labels").Key(labelDataplane), ambient, fmt.Sprintf(
			"Istio's ambient mode has no sidecar, which %s needs; remove the label, or add the label %s: \"true\" if the Pod has a sidecar all the same", egress.AnnotationTarget, labelInject)).WithOrigin(string(ReasonInjectionOff)))
	}
	return errs
}

// switchesOff reads a value strictly: Istio has read four words as yes, later one of them; the
// empty one leaves it to the namespace; any other counts as no.
// https://github.com/istio/istio/blob/1.22.0/pkg/kube/inject/inject.go
func switchesOff(value string) bool {
	return value != "" && !slices.Contains([]string{"y", "yes", "true", "on"}, strings.ToLower(value))
}

func injectionOff(at *field.Path, value string) *field.Error {
	return egress.Invalid(at.Key(labelInject), value, fmt.Sprintf(
		"switches the sidecar off, which %s needs; write \"true\" or take it away", egress.AnnotationTarget)).WithOrigin(string(ReasonInjectionOff))
}

// hasProxy reports whether Istio's sidecar is in the Pod, as a container or as a native sidecar
// among the init containers.
func hasProxy(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Containers, isInjectedProxy) || slices.ContainsFunc(pod.Spec.InitContainers, isInjectedProxy)
}

func isProxy(container corev1.Container) bool {
	return container.Name == egress.ProxyContainer
}

// isInjectedProxy reports whether the container is the sidecar itself, and not settings for one
// that is yet to be injected.
func isInjectedProxy(container corev1.Container) bool {
	return isProxy(container) && container.Image != "" && container.Image != imageAuto
}

// isIstioInit reports whether Istio put the init container in, of which one runs as the sidecar's
// user.
func isIstioInit(container corev1.Container) bool {
	return container.Name == "istio-init" || container.Name == "istio-validation"
}
