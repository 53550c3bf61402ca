package check

import (
	"fmt"
	"slices"
	"strings"

	"istio.io/api/annotation"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/mesh"
)

// podRules returns the rules for Pods whose calls don't pass through a sidecar, or past the TLS
// settings.
func podRules() []Rule {
	return []Rule{
		{
			ID: "MTE257", Group: Istio, Name: "sidecar-disabled", Severity: Error,
			Summary: "Pods with files for their sidecar don't get a sidecar.",
			Effect:  "Calls leave in plain text to port 80.",
			Fix:     "Set the label sidecar.istio.io/inject to true, and don't use hostNetwork.",
			find:    byHand(sidecarDisabled),
		},
		{
			ID: "MTE258", Group: Istio, Name: "calls-past-sidecar", Severity: Error,
			Summary: "An annotation of the Pod leads calls to the partner past the sidecar.",
			Effect:  "The calls are not redirected to the sidecar, and leave in plain text to port 80.",
			Fix:     "Remove the port or the range from the annotation.",
			find:    byHand(callsPastSidecar),
		},
		{
			ID: "MTE259", Group: Istio, Name: "app-calls-https", Severity: Warning,
			Summary: "An environment variable of the app has an https URL of a host that the sidecar starts TLS for.",
			Effect: "The app's own https calls pass through without the client certificate. Where TLS starts on the bare " +
				"port, they get two layers of TLS.",
			Fix:  "Use http:// in the URL.",
			find: byHand(appCallsHTTPS),
		},
	}
}

func sidecarDisabled(h *handWritten, report report) {
	for i := range h.Pods {
		pods := &h.Pods[i]
		key := label.SidecarInject.Name
		_, files := pods.Value.Annotations[mountsKey()]
		switch {
		case !files:
		case pods.Value.Labels[key] == "false":
			report(pods.Object, append(slices.Clip(pods.Path), "metadata", "labels", key),
				"the label turns off the injection, so nothing reads the files of "+mountsKey())
		case pods.Value.Labels[key] == "" && pods.Value.Annotations[key] == "false":
			report(pods.Object, pods.annotationAt(key),
				"the annotation turns off the injection, so nothing reads the files of "+mountsKey())
		case pods.Value.Spec.HostNetwork:
			report(pods.Object, append(slices.Clip(pods.Path), "spec", "hostNetwork"),
				"Pods with hostNetwork don't get a sidecar, so nothing reads the files of "+mountsKey())
		}
	}
}

func callsPastSidecar(h *handWritten, report report) {
	excluded := annotation.SidecarTrafficExcludeOutboundPorts.Name
	excludedRanges := annotation.SidecarTrafficExcludeOutboundIPRanges.Name
	included := annotation.SidecarTrafficIncludeOutboundIPRanges.Name
	for i := range h.Pods {
		pods := &h.Pods[i]
		annotations := pods.Value.Annotations
		ranges, restricted := annotations[included]
		switch {
		case annotations[mountsKey()] == "":
		case slices.Contains(list(annotations[excluded]), "80"):
			report(pods.Object, pods.annotationAt(excluded), "calls to port 80 don't reach the sidecar")
		case slices.ContainsFunc(list(annotations[excludedRanges]), everything):
			report(pods.Object, pods.annotationAt(excludedRanges), "no call reaches the sidecar")
		case restricted && !slices.ContainsFunc(list(ranges), everything) &&
			!slices.Contains(list(annotations[annotation.SidecarTrafficIncludeOutboundPorts.Name]), "80"):
			report(pods.Object, pods.annotationAt(included), fmt.Sprintf(
				"only calls to %q reach the sidecar; those to the partner's addresses may not be among them", ranges))
		}
	}
}

// list returns the elements of a list with commas.
func list(text string) []string {
	var elements []string
	for element := range strings.SplitSeq(text, ",") {
		elements = append(elements, strings.TrimSpace(element))
	}
	return elements
}

func everything(ranges string) bool { return ranges == "*" || ranges == "0.0.0.0/0" }

func appCallsHTTPS(h *handWritten, report report) {
	for i := range h.Pods {
		pods := &h.Pods[i]
		for n, container := range pods.Value.Spec.Containers {
			for e, variable := range container.Env {
				host, found := h.httpsHost(variable, pods.Location.Namespace)
				if !found {
					continue
				}
				report(pods.Object, append(slices.Clip(pods.Path), "spec", "containers", n, "env", e, "value"), fmt.Sprintf(
					"%s is an https URL of %s, so these calls don't use the client certificate of the sidecar", variable.Name, host))
			}
		}
	}
}

// httpsHost returns the host of an https URL that the namespace has TLS settings with a client
// certificate for.
func (h *handWritten) httpsHost(variable corev1.EnvVar, namespace string) (host string, found bool) {
	rest, isURL := strings.CutPrefix(strings.ToLower(variable.Value), "https://")
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	rest = rest[strings.LastIndex(rest, "@")+1:] // without the user and the password
	rest, _, _ = strings.Cut(rest, ":")
	host = mesh.NormalHost(rest)
	return host, isURL && slices.ContainsFunc(h.startsOf[host], func(s start) bool {
		return s.presents() && visible(s.destinationRule, namespace)
	})
}
