package mutate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"istio.io/api/annotation"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
)

// annotationMirror is set on the mirror Pod of a static Pod, which the kubelet runs from a file.
const annotationMirror = "kubernetes.io/config.mirror"

// proxyUser is the user and group ID of the sidecar. Istio doesn't redirect calls of either, to
// avoid a loop.
const proxyUser = 1337

// ambient is the value of the label that adds a Pod to Istio's ambient mode.
//
// https://istio.io/latest/docs/reference/config/labels/#IoIstioDataplaneMode
const ambient = "ambient"

// checkPod rejects Pods whose calls no sidecar would intercept, or whose containers would ignore
// the sinkhole address.
func checkPod(pod *corev1.Pod, at *field.Path) field.ErrorList {
	errs := checkInjection(pod, at)
	if value, mirror := pod.Annotations[annotationMirror]; mirror {
		errs = append(
			errs,
			egress.Invalid(at.Child("metadata", "annotations").Key(annotationMirror), value, fmt.Sprintf(
				"the kubelet runs a static Pod from a file, so the webhook can't change it; remove %s from that "+
					"file, and create the Pod through the API server if it needs the annotation",
				egress.AnnotationTarget)).WithOrigin(string(ReasonStaticPod)),
		)
	}
	errs = append(errs, checkWindows(&pod.Spec, at.Child("spec"))...)
	if context := pod.Spec.SecurityContext; context != nil {
		errs = append(
			errs,
			checkUser(context.RunAsUser, context.RunAsGroup, func() *field.Path { return at.Child("spec") })...)
	}
	errs = append(errs, checkContainers(pod.Spec.InitContainers, at, "initContainers")...)
	return append(errs, checkContainers(pod.Spec.Containers, at, "containers")...)
}

func checkContainers(containers []corev1.Container, at *field.Path, name string) field.ErrorList {
	var errs field.ErrorList
	for i := range containers {
		// Build the path lazily, because most containers have no problem.
		container := func() *field.Path { return at.Child("spec", name).Index(i) }
		errs = append(errs, checkMounts(containers[i].VolumeMounts, container)...)
		if egress.IsProxy(containers[i]) || isIstioInit(containers[i]) {
			continue
		}
		if context := containers[i].SecurityContext; context != nil {
			errs = append(errs, checkUser(context.RunAsUser, context.RunAsGroup, container)...)
		}
	}
	return errs
}

// checkUser rejects the sidecar's user and group in the securityContext of a Pod or container.
func checkUser(user, group *int64, at func() *field.Path) field.ErrorList {
	var errs field.ErrorList
	refuse := func(name, what string) {
		errs = append(
			errs,
			egress.Invalid(
				at().Child("securityContext", name),
				strconv.Itoa(proxyUser),
				"is the sidecar's own "+what+", whose calls bypass the sidecar; choose another one",
			).WithOrigin(string(ReasonProxyUser)),
		)
	}
	if user != nil && *user == proxyUser {
		refuse("runAsUser", "user")
	}
	if group != nil && *group == proxyUser {
		refuse("runAsGroup", "group")
	}
	return errs
}

// checkWindows rejects Pods that require Windows.
func checkWindows(spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	refuse := func(at *field.Path) {
		errs = append(errs, egress.Invalid(at, string(corev1.Windows), fmt.Sprintf(
			"Istio has no sidecar for Windows, which %s needs; run the Pod on Linux or remove the annotation",
			egress.AnnotationTarget)).WithOrigin(string(ReasonInjectionOff)))
	}
	if spec.OS != nil && spec.OS.Name == corev1.Windows {
		refuse(at.Child("os", "name"))
	}
	for _, label := range osLabels() {
		if spec.NodeSelector[label] == string(corev1.Windows) {
			refuse(at.Child("nodeSelector").Key(label))
		}
	}
	if spec.Affinity != nil && spec.Affinity.NodeAffinity != nil &&
		needsWindows(spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution) {
		refuse(at.Child("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"))
	}
	return errs
}

// osLabels returns the node labels with the operating system.
func osLabels() []string { return []string{corev1.LabelOSStable, "beta." + corev1.LabelOSStable} }

// needsWindows reports whether the selector matches only Windows nodes. The terms are ORed, and an
// empty term matches no node.
//
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

// checkInjection rejects Pods that can't get a sidecar, because all their calls would be dropped at
// the sinkhole. A Pod that already has the sidecar needs no injection.
func checkInjection(pod *corev1.Pod, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if pod.Spec.HostNetwork {
		errs = append(errs, egress.Invalid(at.Child("spec", "hostNetwork"), "true", fmt.Sprintf(
			"a Pod with hostNetwork has no sidecar, which %s needs; remove hostNetwork or the annotation",
			egress.AnnotationTarget)).WithOrigin(string(ReasonHostNetwork)))
	}
	if _, injected := pod.Annotations[annotation.SidecarStatus.Name]; injected || egress.HasSidecar(pod) {
		return errs
	}
	if value, labeled := pod.Labels[label.SidecarInject.Name]; labeled {
		if switchesOff(value) {
			errs = append(errs, injectionOff(at.Child("metadata", "labels"), value))
		}
		return errs
	}
	if value, annotated := pod.Annotations[label.SidecarInject.Name]; annotated && switchesOff(value) {
		errs = append(errs, injectionOff(at.Child("metadata", "annotations"), value))
	}
	if pod.Labels[label.IoIstioDataplaneMode.Name] == ambient {
		key := at.Child("metadata", "labels").Key(label.IoIstioDataplaneMode.Name)
		errs = append(errs, egress.Invalid(key, ambient, fmt.Sprintf(
			"Istio's ambient mode has no sidecar, which %s needs; remove the label, or add the label %s: \"true\" if "+
				"the Pod has a sidecar anyway", egress.AnnotationTarget,
			label.SidecarInject.Name)).WithOrigin(string(ReasonInjectionOff)))
	}
	return errs
}

// foreseeInjection returns a warning or an error if Istio will inject no sidecar into the Pod, as
// all its calls would be dropped at the sinkhole. It follows the selectors of Istio's webhooks:
// https://github.com/istio/istio/blob/1.31.0/manifests/charts/istio-control/istio-discovery/templates/mutatingwebhook.yaml
//
// A Pod that already has the sidecar needs no injection.
func (f Facts) foreseeInjection(pod *corev1.Pod, at *field.Path) (warning string, errs field.ErrorList) {
	if _, injected := pod.Annotations[annotation.SidecarStatus.Name]; injected || egress.HasSidecar(pod) ||
		f.NamespaceLabels == nil {
		return "", nil
	}
	missing := f.notInjected(pod)
	if missing == "" {
		return "", nil
	}
	message := fmt.Sprintf("Istio will inject no sidecar, which %s needs, so calls would fail: %s",
		egress.AnnotationTarget, missing)
	inAmbient := f.NamespaceLabels[label.IoIstioDataplaneMode.Name] == ambient &&
		pod.Labels[label.IoIstioDataplaneMode.Name] != "none"
	if inAmbient {
		message += ". Ambient mode, which the Namespace has, is not enough"
	}
	if !f.RequireInjection && !inAmbient {
		return message, nil
	}
	return "", field.ErrorList{
		field.Forbidden(at.Key(egress.AnnotationTarget), message).WithOrigin(string(ReasonInjectionOff)),
	}
}

// notInjected returns what is missing for an injection, or "" if nothing is.
func (f Facts) notInjected(pod *corev1.Pod) string {
	inNamespace, labeled := f.NamespaceLabels[egress.LabelInjection]
	_, revision := f.NamespaceLabels[label.IoIstioRev.Name]
	_, ownRevision := pod.Labels[label.IoIstioRev.Name]
	own := pod.Labels[label.SidecarInject.Name] == "true"
	switch {
	case labeled && inNamespace != "enabled":
		return fmt.Sprintf("the Namespace %s has the label %s: %s; set it to enabled",
			f.Namespace, egress.LabelInjection, inNamespace)
	case f.Injector.OnRequest && !own:
		return fmt.Sprintf("its injector has policy: disabled; set the label %s: \"true\" on the Pod",
			label.SidecarInject.Name)
	case !labeled && !revision && !own && !ownRevision && !f.Injector.EveryNamespace:
		return fmt.Sprintf("neither the Namespace %s nor the Pod has a label for it; label the Namespace with "+
			"%s=enabled, or with %s=REVISION if the control plane has a revision",
			f.Namespace, egress.LabelInjection, label.IoIstioRev.Name)
	}
	return ""
}

// switchesOff interprets the value strictly. Istio has accepted four words as true, and later only
// one of them. An empty value defers to the namespace. Any other value means false.
//
// https://github.com/istio/istio/blob/1.22.0/pkg/kube/inject/inject.go
func switchesOff(value string) bool {
	return value != "" && !slices.Contains([]string{"y", "yes", "true", "on"}, strings.ToLower(value))
}

func injectionOff(at *field.Path, value string) *field.Error {
	return egress.Invalid(at.Key(label.SidecarInject.Name), value, fmt.Sprintf(
		"turns off sidecar injection, which %s needs; write \"true\" or remove it",
		egress.AnnotationTarget)).WithOrigin(string(ReasonInjectionOff))
}

// isIstioInit reports whether Istio added the init container. One of them runs as the sidecar's
// user.
func isIstioInit(container corev1.Container) bool {
	return container.Name == "istio-init" || container.Name == "istio-validation"
}
