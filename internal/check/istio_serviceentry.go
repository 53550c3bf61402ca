package check

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/mesh"
)

// serviceEntryRules returns the rules for ServiceEntries whose ports or endpoints don't fit to the
// TLS settings.
func serviceEntryRules() []Rule {
	return []Rule{
		{
			ID: "MTE239", Group: Istio, Name: "no-http-port", Severity: Warning,
			Summary: "No ServiceEntry of the input has an HTTP port for the calls that the VirtualService routes.",
			Effect: "Sidecars listen for HTTP only on ports of HTTP services that they know. Without one on port 80, the " +
				"VirtualService is never asked, and calls leave in plain text.",
			Fix:  "Add port 80 with the protocol HTTP to the ServiceEntry.",
			find: byHand(noHTTPPort),
		},
		{
			ID: "MTE240", Group: Istio, Name: "http-port-as-other-protocol", Severity: Error,
			Summary: "The port that plain calls use has a protocol other than HTTP in the ServiceEntry.",
			Effect: "The sidecar doesn't parse HTTP there, so the VirtualService is never asked, and calls leave in plain " +
				"text. With a TCP port 80 and no addresses, http calls to all other unknown hosts go to the partner too.",
			Fix:  "Write protocol: HTTP. The name of the port doesn't matter in a ServiceEntry.",
			find: byHand(httpPortAsOtherProtocol),
		},
		{
			ID: "MTE241", Group: Istio, Name: "tls-port-as-http", Severity: Warning,
			Summary: "Port 443 has the protocol HTTP in the ServiceEntry.",
			Effect: "The sidecar doesn't know the host for the app's own https calls: they pass as calls to an unknown host, " +
				"and a mesh with REGISTRY_ONLY ends them.",
			Fix:  "Write protocol: HTTPS.",
			find: byHand(tlsPortAsHTTP),
		},
		{
			ID: "MTE242", Group: Istio, Name: "resolution-none-with-other-port", Severity: Error,
			Summary: "A route leads to another port of a ServiceEntry with the resolution NONE.",
			Effect: "With NONE, the sidecar connects to the address and port that the app called, so the TLS handshake goes " +
				"to the partner's port 80, and calls get 503.",
			Fix:  "Use the resolution DNS.",
			find: byHand(resolutionNoneWithOtherPort),
		},
		{
			ID: "MTE243", Group: Istio, Name: "resolution-none-with-target-port", Severity: Warning,
			Summary: "A ServiceEntry has the resolution NONE and a targetPort.",
			Effect:  "Istio before 1.22 ignores targetPort with NONE: the TLS handshake goes to port 80, and calls get 503.",
			Fix:     "Use the resolution DNS.",
			find:    byHand(resolutionNoneWithTargetPort),
		},
		{
			ID: "MTE244", Group: Istio, Name: "target-port-without-tls", Severity: Error,
			Summary: "A ServiceEntry leads port 80 to the partner's port 443, but TLS doesn't start on port 80.",
			Effect:  "Calls leave in plain text to port 443.",
			Fix:     "Start TLS in portLevelSettings of port 80: the number of the port, not its targetPort.",
			find:    byHand(targetPortWithoutTLS),
		},
		{
			ID: "MTE245", Group: Istio, Name: "subset-without-endpoints", Severity: Error,
			Summary: "The subset with the TLS settings has labels that no endpoint of the ServiceEntry has.",
			Effect:  "The subset has no endpoints, and calls get 503.",
			Fix:     "Remove the labels from the subset.",
			find:    byHand(subsetWithoutEndpoints),
		},
		{
			ID: "MTE260", Group: Istio, Name: "wildcard-with-dns", Severity: Error,
			Summary: "A ServiceEntry with a wildcard has the resolution DNS.",
			Effect:  "Istio refuses the object. Calls leave without it: in plain text to port 80.",
			Fix:     "List the hosts, or use the resolution NONE.",
			find:    byHand(wildcardWithDNS),
		},
		{
			ID: "MTE261", Group: Istio, Name: "service-port-as-other-protocol", Severity: Error,
			Summary: "TLS starts for a Service of the partner, whose port 80 has a name of a protocol other than HTTP.",
			Effect: "Istio takes the protocol from the name of the port, doesn't parse HTTP there, and never asks the " +
				"VirtualService. Calls leave in plain text to port 80.",
			Fix:  "Name the port http, or set appProtocol: http.",
			find: byHand(servicePortAsOtherProtocol),
		},
	}
}

func wildcardWithDNS(h *handWritten, report report) {
	for _, e := range h.entries {
		switch e.Value.Spec.Resolution {
		case networking.ServiceEntry_DNS, networking.ServiceEntry_DNS_ROUND_ROBIN:
		default:
			continue
		}
		if strings.HasPrefix(e.host, "*") && h.hasEndpointsOnlyByHost(e) {
			report(e.Object, []any{"spec", "resolution"}, fmt.Sprintf(
				"Istio refuses the resolution %s for the wildcard %s", e.Value.Spec.Resolution, e.host))
		}
	}
}

// hasEndpointsOnlyByHost reports whether the hosts are the only addresses of the ServiceEntry, and
// are part of hand-written TLS: other ServiceEntries are not for these rules.
func (h *handWritten) hasEndpointsOnlyByHost(e entry) bool {
	return len(e.Value.Spec.Endpoints) == 0 && e.Value.Spec.WorkloadSelector == nil &&
		slices.ContainsFunc(h.starts, func(s start) bool {
			return mesh.Covers(e.host, s.host) || mesh.Covers(s.host, e.host)
		})
}

func servicePortAsOtherProtocol(h *handWritten, report report) {
	for _, service := range h.Services {
		host := service.Value.Name + "." + service.Location.Namespace + ".svc.cluster.local"
		rules := h.rulesOf[host]
		if len(service.Value.Spec.Selector) > 0 || !slices.ContainsFunc(rules, startsTLS) {
			continue
		}
		for n, port := range service.Value.Spec.Ports {
			if protocol := protocolOf(port); port.Port == 80 && otherThanHTTP(protocol) {
				report(service.Object, []any{"spec", "ports", n}, fmt.Sprintf(
					"Istio takes port 80 of Service %s for %s, so sidecars don't ask a VirtualService for its calls",
					service.Location.Name, protocol))
			}
		}
	}
}

// protocolOf returns what Istio takes the protocol of a Service's port from: appProtocol, or the
// name up to the first hyphen.
// https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/
func protocolOf(port corev1.ServicePort) string {
	if port.AppProtocol != nil {
		return strings.ToLower(*port.AppProtocol)
	}
	name, _, _ := strings.Cut(port.Name, "-")
	return strings.ToLower(name)
}

// otherThanHTTP reports whether Istio knows the protocol, and doesn't parse HTTP for it.
func otherThanHTTP(protocol string) bool {
	return slices.Contains([]string{"https", "tls", "tcp", "udp", "mongo", "mysql", "redis"}, protocol)
}

func noHTTPPort(h *handWritten, report report) {
	told := map[string]bool{}
	for _, r := range h.routes {
		entries := h.entriesFor(r.host)
		number := h.listens(r)
		if told[r.host] || !r.inSidecars() || !h.reachesTLS(r) || len(entries) == 0 || h.opens(number) {
			continue
		}
		told[r.host] = true
		report(entries[0].Object, []any{"spec", "ports"}, fmt.Sprintf(
			"no ServiceEntry and no Service of the input has an HTTP port %d, so sidecars may not ask VirtualService %s for "+
				"calls to http://%s", number, r.Location.Name, r.host))
	}
}

// listens returns the port that apps call for the route: that of its match, or that of plain calls.
func (h *handWritten) listens(r route) uint32 {
	for _, match := range r.http.Match {
		if match.Port != 0 {
			return match.Port
		}
	}
	return h.plainPortOf(r.host)
}

// opens reports whether any service of the input has the port. What protocol it has is for another
// rule.
func (h *handWritten) opens(number uint32) bool {
	return slices.ContainsFunc(h.entries, func(e entry) bool { return e.port(number) != nil }) ||
		slices.ContainsFunc(h.ServiceEntries, func(e serviceEntry) bool {
			return entry{serviceEntry: e}.port(number) != nil
		}) || h.serviceOpens(number)
}

func (h *handWritten) serviceOpens(number uint32) bool {
	for _, service := range h.Services {
		for _, port := range service.Value.Spec.Ports {
			if port.Port == int32(number) { //nolint:gosec // a port
				return true
			}
		}
	}
	return false
}

func httpPortAsOtherProtocol(h *handWritten, report report) {
	told := map[string]bool{}
	for _, r := range h.routes {
		if !r.inSidecars() || !h.reachesTLS(r) {
			continue
		}
		for _, e := range h.entriesFor(r.host) {
			index := e.portIndex(h.listens(r))
			key := fmt.Sprint(e.Location, index)
			if index < 0 || told[key] || mesh.IsHTTP(e.Value.Spec.Ports[index].Protocol) {
				continue
			}
			told[key] = true
			port := e.Value.Spec.Ports[index]
			report(e.Object, []any{"spec", "ports", index, "protocol"}, fmt.Sprintf(
				"port %d of %s has the protocol %q, so sidecars don't ask VirtualService %s for these calls",
				port.Number, r.host, port.Protocol, r.Location.Name))
		}
	}
}

func tlsPortAsHTTP(h *handWritten, report report) {
	for _, e := range h.entries {
		index := e.portIndex(443)
		if index < 0 || len(h.startsOf[e.host]) == 0 {
			continue
		}
		if port := e.Value.Spec.Ports[index]; mesh.IsHTTP(port.Protocol) {
			report(e.Object, []any{"spec", "ports", index, "protocol"}, fmt.Sprintf(
				"port 443 of %s has the protocol %s, so the app's own https calls are calls to an unknown host", e.host,
				port.Protocol))
		}
	}
}

func resolutionNoneWithOtherPort(h *handWritten, report report) {
	told := map[string]bool{}
	for _, r := range h.routes {
		number := r.destination.GetPort().GetNumber()
		for _, e := range h.entriesFor(r.host) {
			key := fmt.Sprint(e.Location)
			if told[key] || !r.inSidecars() || number == 0 || h.listens(r) == number || !resolvesNone(e) || !h.reachesTLS(r) {
				continue
			}
			told[key] = true
			report(e.Object, []any{"spec", "resolution"}, fmt.Sprintf(
				"VirtualService %s routes calls on port %d to port %d of %s, but with the resolution NONE the sidecar connects "+
					"to the port that the app called", r.Location.Name, h.listens(r), number, r.host))
		}
	}
}

func resolvesNone(e entry) bool { return e.Value.Spec.Resolution == networking.ServiceEntry_NONE }

func resolutionNoneWithTargetPort(h *handWritten, report report) {
	for _, e := range h.entries {
		for n, port := range e.Value.Spec.Ports {
			if resolvesNone(e) && port.TargetPort != 0 && len(h.startsOf[e.host]) > 0 {
				report(e.Object, []any{"spec", "ports", n, "targetPort"}, fmt.Sprintf(
					"Istio before 1.22 ignores targetPort (%d) with the resolution NONE", port.TargetPort))
			}
		}
	}
}

func targetPortWithoutTLS(h *handWritten, report report) {
	for _, e := range h.entries {
		for n, port := range e.Value.Spec.Ports {
			if port.TargetPort != 443 || !mesh.IsHTTP(port.Protocol) || len(h.startsOf[e.host]) == 0 ||
				h.routedAway(e.host, port.Number) || h.onlyInGateways(e.host) ||
				slices.ContainsFunc(h.rulesOf[e.host], func(rule destinationRule) bool {
					return settingsFor(rule, "", port.Number) != nil
				}) || h.routedToSubset(e.host) {
				continue
			}
			report(e.Object, []any{"spec", "ports", n, "targetPort"}, fmt.Sprintf(
				"calls on port %d go to port 443 of %s, but DestinationRule %s starts TLS only for %s", port.Number, e.host,
				h.startsOf[e.host][0].Location.Name, h.startsOf[e.host][0].what()))
		}
	}
}

// routedToSubset reports whether sidecars route calls to a subset of the host that starts TLS.
func (h *handWritten) routedToSubset(host string) bool {
	return slices.ContainsFunc(h.sidecarRoutes(host), func(r route) bool {
		return r.destination.GetSubset() != "" && h.reachesTLS(r)
	})
}

func subsetWithoutEndpoints(h *handWritten, report report) {
	for _, s := range h.starts {
		entries := h.entriesFor(s.host)
		index := slices.IndexFunc(s.Value.Spec.Subsets, func(subset *networking.Subset) bool {
			return subset.Name == s.subset
		})
		if s.subset == "" || index < 0 || len(entries) == 0 {
			continue
		}
		wanted := s.Value.Spec.Subsets[index].Labels
		if len(wanted) == 0 || slices.ContainsFunc(entries, func(e entry) bool { return hasEndpoint(e, wanted) }) {
			continue
		}
		report(s.Object, []any{"spec", "subsets", index, "labels"}, fmt.Sprintf(
			"no endpoint of ServiceEntry %s has the labels %s, so the subset %s has no endpoints",
			entries[0].Location.Name, labelsText(wanted), s.subset))
	}
}

// hasEndpoint reports whether an endpoint of the ServiceEntry can have the labels. Its own
// endpoint, the host, has those of the ServiceEntry.
func hasEndpoint(e entry, wanted map[string]string) bool {
	if e.Value.Spec.WorkloadSelector != nil {
		return true
	}
	if len(e.Value.Spec.Endpoints) == 0 {
		return contains(e.Value.Labels, wanted)
	}
	return slices.ContainsFunc(e.Value.Spec.Endpoints, func(endpoint *networking.WorkloadEntry) bool {
		return contains(endpoint.Labels, wanted)
	})
}

func contains(labels, wanted map[string]string) bool {
	for key, value := range wanted {
		if labels[key] != value {
			return false
		}
	}
	return true
}
