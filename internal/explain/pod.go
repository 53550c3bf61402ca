package explain

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"istio.io/api/annotation"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/interception"
	"mtls.egress/webhook/internal/uservolume"
)

// lookAdmitted reports whether the webhook injected the Pod.
func lookAdmitted(f *Facts) finding {
	if f.Pod == nil {
		return lookCreated(f)
	}
	pod, host := f.Pod, f.Host
	if pod.Labels[egress.LabelInjected] != egress.LabelValue {
		return failed(NotInjected, fmt.Sprintf("%s has the annotation but not the label %s, so the webhook wasn't asked "+
			"when it was created: it is older than the webhook, or the webhook leaves out the namespace %s; recreate it",
			f.subject(), egress.LabelInjected, f.Namespace), f.restart())
	}
	var missing []string
	if pod.Labels[egress.HostLabel(host)] != egress.LabelValue {
		missing = append(missing, "the label "+egress.HostLabel(host))
	}
	if !hasAlias(pod, host) {
		missing = append(missing, "the host alias of "+host)
	}
	if !asksForVolume(pod, host) {
		missing = append(missing, "the volume "+egress.VolumeName(host))
	}
	if len(missing) > 0 {
		return failed(AnnotationChanged, fmt.Sprintf("%s lacks %s: its annotation was changed after it started; recreate it",
			f.subject(), strings.Join(missing, ", ")), f.restart())
	}
	return fine(fmt.Sprintf("it has the labels, the volume and the alias %s for %s", f.Target().Address(), host))
}

// lookCreated is lookAdmitted for a workload without Pods.
func lookCreated(f *Facts) finding {
	for _, event := range slices.Backward(f.Events) {
		if event.Reason == "FailedCreate" {
			cause := PodRefused
			if strings.Contains(event.Message, "failed calling webhook") {
				cause = WebhookNotReached
			}
			return failed(cause, fmt.Sprintf("the Pods of %s are refused: %s", f.subject(), event.Message),
				"kubectl get events -n "+f.Namespace+" --field-selector=reason=FailedCreate")
		}
	}
	if f.Workload.Replicas != nil && *f.Workload.Replicas == 0 {
		return failed(NoPods, f.subject()+" has 0 replicas, so nothing calls; scale it",
			fmt.Sprintf("kubectl scale %s/%s -n %s --replicas=1", lower(f.Workload.Kind), f.Workload.Name, f.Namespace))
	}
	detail := f.subject() + " has no Pod"
	if why := f.Unread[SourceEvents]; why != "" {
		detail += ", and the reason is not known: " + why
	}
	return failed(NoPods, detail, fmt.Sprintf("kubectl describe %s/%s -n %s",
		lower(f.Workload.Kind), f.Workload.Name, f.Namespace))
}

func hasAlias(pod *corev1.Pod, host string) bool {
	return slices.ContainsFunc(pod.Spec.HostAliases, func(alias corev1.HostAlias) bool {
		return slices.Contains(alias.Hostnames, host)
	})
}

// asksForVolume reports whether the Pod or Istio's annotation has the volume of the credential.
func asksForVolume(pod *corev1.Pod, host string) bool {
	if hasVolume(pod, host) {
		return true
	}
	entries, err := uservolume.Parse(pod.Annotations[annotation.SidecarUserVolume.Name])
	return err == nil && slices.ContainsFunc(entries.Items, func(entry uservolume.Entry) bool {
		return entry.Name == egress.VolumeName(host)
	})
}

func hasVolume(pod *corev1.Pod, host string) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == egress.VolumeName(host) })
}

// lookSidecar reports whether the Pod has a sidecar that mounts the credential.
func lookSidecar(f *Facts) finding {
	switch {
	case f.Pod == nil:
		return skipped("there is no Pod")
	case !egress.HasSidecar(f.Pod):
		return withoutSidecar(f)
	case f.Pod.Labels[egress.LabelInjected] == egress.LabelValue && !hasVolume(f.Pod, f.Host):
		return failed(NotMounted, fmt.Sprintf("%s has a sidecar without the volume %s: Istio didn't read the annotation %s; "+
			"recreate the Pod, and check the injection template of the mesh",
			f.subject(), egress.VolumeName(f.Host), annotation.SidecarUserVolume.Name), f.restart())
	}
	detail := "a plain sidecar"
	if slices.ContainsFunc(f.Pod.Spec.InitContainers, egress.IsSidecar) {
		detail = "a native sidecar"
	}
	if version := egress.ProxyVersion(f.Pod); version != "" {
		detail += " of Istio " + version
	}
	return fine(detail)
}

// withoutSidecar explains why Istio injected none.
func withoutSidecar(f *Facts) finding {
	const consequence = ", so its calls are dropped"
	name := f.Namespace
	enable := "kubectl label namespace " + name + " istio-injection=enabled && " + f.restart()
	if f.Pod.Labels[label.SidecarInject.Name] == "false" || f.Pod.Annotations[label.SidecarInject.Name] == "false" {
		return failed(SidecarSwitchedOff, fmt.Sprintf("%s has no sidecar%s: its %s is \"false\"; remove that from the "+
			"workload",
			f.subject(), consequence, label.SidecarInject.Name), f.restart())
	}
	if f.NamespaceObject == nil {
		return failed(NoSidecar, fmt.Sprintf("%s has no sidecar%s; enable injection for the namespace and recreate the Pod",
			f.subject(), consequence), enable)
	}
	labels := f.NamespaceObject.Labels
	switch {
	case labels[label.IoIstioDataplaneMode.Name] == "ambient":
		return failed(AmbientMode, fmt.Sprintf("%s has no sidecar%s: the namespace %s is in ambient mode; label it with "+
			"istio-injection=enabled and recreate the Pod", f.subject(), consequence, name), enable)
	case labels[egress.LabelInjection] == "enabled" || labels[label.IoIstioRev.Name] != "":
		return failed(NoSidecar, fmt.Sprintf("%s has no sidecar%s, although injection is enabled for the namespace %s: "+
			"it is "+
			"older than the label, or the injector was down; recreate the Pod", f.subject(), consequence, name), f.restart())
	}
	return failed(NamespaceNotInjected, fmt.Sprintf("%s has no sidecar%s: the namespace %s lacks the label "+
		"istio-injection=enabled (or istio.io/rev); label it and recreate the Pod", f.subject(), consequence, name), enable)
}

// lookInterception reports whether the sidecar intercepts calls to the sinkhole.
func lookInterception(f *Facts) finding {
	if f.Pod == nil {
		return skipped("there is no Pod")
	}
	t := f.Target()
	settings, source := interception.Of(f.Pod.Annotations, f.Interception), "its annotations"
	if f.Interception == nil {
		settings = interception.Of(f.Pod.Annotations, interception.Defaults())
	}
	if args, container := redirectArguments(f.Pod); container != "" {
		settings, source = interception.ReadArguments(args), "the arguments of "+container
	}
	called := net.JoinHostPort(t.Address().String(), strconv.Itoa(int(t.AppPort)))
	obstacles := settings.Obstacles(t.Address(), t.AppPort)
	if len(obstacles) == 0 {
		return fine(fmt.Sprintf("calls to %s, by %s", called, source))
	}
	var causes []string
	for _, name := range obstacles {
		causes = append(causes, fmt.Sprintf("%s: %q", name, settings[name]))
	}
	return failed(NotIntercepted, fmt.Sprintf("the sidecar doesn't intercept calls to the sinkhole address %s, so they "+
		"are dropped: %s, by %s; take the port or the address out of that annotation of the Pod template, or out of "+
		"the mesh's settings", called, strings.Join(causes, ", "), source), f.restart())
}

// redirectArguments returns the arguments of istio-iptables: those of istio-init or, with Istio's
// CNI plugin, of istio-validation.
func redirectArguments(pod *corev1.Pod) (args []string, container string) {
	for _, name := range []string{"istio-init", "istio-validation"} {
		for i := range pod.Spec.InitContainers {
			if c := &pod.Spec.InitContainers[i]; c.Name == name {
				return slices.Concat(c.Command, c.Args), name
			}
		}
	}
	return nil, ""
}

// lookStarted reports whether the sidecar is ready.
func lookStarted(f *Facts) finding {
	pod := f.Pod
	switch {
	case pod == nil:
		return skipped("there is no Pod")
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		return failed(PodEnded, fmt.Sprintf("%s has ended (%s), so it makes no calls", f.subject(), pod.Status.Phase), "")
	case pod.Spec.NodeName == "":
		return failed(PodNotScheduled, f.subject()+" has no node"+f.eventDetail("FailedScheduling"),
			"kubectl describe pod "+pod.Name+" -n "+f.Namespace)
	}
	status := proxyStatus(pod)
	describe := "kubectl describe pod " + pod.Name + " -n " + f.Namespace
	switch {
	case status == nil || status.State.Running == nil && f.has("FailedMount"):
		return failed(VolumeNotMounted, fmt.Sprintf("%s waits for its volumes%s", f.subject(), f.eventDetail("FailedMount")),
			describe)
	case status.State.Waiting != nil:
		return failed(SidecarNotStarted, fmt.Sprintf("the sidecar of %s doesn't start: %s", f.subject(),
			strings.TrimSpace(status.State.Waiting.Reason+" "+status.State.Waiting.Message)), describe)
	case status.State.Terminated != nil:
		return failed(SidecarNotStarted, fmt.Sprintf("the sidecar of %s has ended: %s", f.subject(),
			status.State.Terminated.Reason), describe)
	case f.Sidecar != nil && !f.Sidecar.Updated:
		return failed(IstiodNotReached, fmt.Sprintf("the sidecar of %s has no configuration: istiod doesn't answer it; "+
			"check "+
			"that istiod runs, and that the Pod reaches it", f.subject()), "istioctl proxy-status")
	case !status.Ready:
		return failed(SidecarNotReady, fmt.Sprintf("the sidecar of %s is not ready (restarts: %d)%s; its log has the reason",
			f.subject(), status.RestartCount, f.eventDetail("Unhealthy")),
			"kubectl logs "+pod.Name+" -n "+f.Namespace+" -c "+egress.ProxyContainer)
	}
	return fine(fmt.Sprintf("it is ready, restarts: %d", status.RestartCount))
}

// proxyStatus returns the status of the sidecar, or nil if the kubelet hasn't reported one.
func proxyStatus(pod *corev1.Pod) *corev1.ContainerStatus {
	all := slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
	for i := range all {
		if all[i].Name == egress.ProxyContainer {
			return &all[i]
		}
	}
	return nil
}

// has reports whether there is an event of this reason for the Pod.
func (f *Facts) has(reason string) bool {
	return slices.ContainsFunc(f.Events, func(e Event) bool { return e.Reason == reason && e.Object == f.Pod.Name })
}

// eventDetail returns the last event of the Pod with this reason, to follow a sentence, or "".
func (f *Facts) eventDetail(reason string) string {
	for _, event := range slices.Backward(f.Events) {
		if event.Reason == reason && event.Object == f.Pod.Name {
			return ": " + strings.TrimSpace(event.Message)
		}
	}
	return ""
}
