package check

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// destinationRuleRules returns the rules for DestinationRules whose TLS never applies, or applies
// to the wrong hosts.
func destinationRuleRules() []Rule {
	return []Rule{
		{
			ID: "MTE203", Group: Istio, Name: "host-without-service-entry", Severity: Warning,
			Summary: "A DestinationRule starts TLS to a host that no ServiceEntry of the input names.",
			Effect: "Istio applies a DestinationRule only to hosts that it knows. Without a ServiceEntry, calls leave in " +
				"plain text to port 80.",
			Fix:  "Add a ServiceEntry for the host, or check the input together with the one that exists.",
			find: byHand(hostWithoutServiceEntry),
		},
		{
			ID: "MTE204", Group: Istio, Name: "tls-on-unknown-port", Severity: Error,
			Summary: "A DestinationRule starts TLS on a port that the ServiceEntry doesn't have.",
			Effect:  "The TLS settings never apply, and calls leave in plain text to the ports that the ServiceEntry has.",
			Fix:     "Use the number of a port of the ServiceEntry: its number, not its targetPort.",
			find:    byHand(tlsOnUnknownPort),
		},
		{
			ID: "MTE205", Group: Istio, Name: "subset-without-route", Severity: Error,
			Summary: "A DestinationRule starts TLS in a subset that no route of the VirtualService leads to.",
			Effect:  "Calls follow the route without the subset, and leave in plain text.",
			Fix:     "Name the subset in the destination of the VirtualService.",
			find:    byHand(subsetWithoutRoute),
		},
		{
			ID: "MTE206", Group: Istio, Name: "credential-at-sidecar", Severity: Error,
			Summary: "A DestinationRule for sidecars names a credential (credentialName) and has no workloadSelector.",
			Effect:  "Sidecars leave out the TLS settings, and calls leave in plain text to port 443.",
			Fix: "Add spec.workloadSelector with labels of the Pods, and allow their service account to list Secrets; or " +
				"mount the files and name them.",
			find: byHand(credentialAtSidecar),
		},
		{
			ID: "MTE207", Group: Istio, Name: "selector-without-pods", Severity: Warning,
			Summary: "The workloadSelector of a DestinationRule selects no Pods of the input.",
			Effect:  "The TLS settings apply to no Pod, and calls get 503 or leave in plain text.",
			Fix:     "Use labels of the Pod template: labels of the Deployment itself don't count.",
			find:    byHand(selectorWithoutPods),
		},
		{
			ID: "MTE208", Group: Istio, Name: "rule-sorted-first", Severity: Error,
			Summary: "Another DestinationRule for the same host in the namespace can come first, and has no TLS there.",
			Effect: "Istio keeps the trafficPolicy of the older rule, or of the one with a workloadSelector, and drops the " +
				"other. Calls then leave in plain text.",
			Fix:  "Write one DestinationRule for the host.",
			find: byHand(ruleSortedFirst),
		},
		{
			ID: "MTE209", Group: Istio, Name: "selector-with-export", Severity: Error,
			Summary: "A DestinationRule with a workloadSelector is exported to other namespaces.",
			Effect:  "Istio refuses the object. Calls to its subset get 503; without a subset, they leave in plain text.",
			Fix:     `Write exportTo: ["."].`,
			find:    byHand(selectorWithExport),
		},
		{
			ID: "MTE210", Group: Istio, Name: "wildcard-with-client-certificate", Severity: Warning,
			Summary: "A DestinationRule for a wildcard presents the client certificate.",
			Effect:  "The sidecar presents the client certificate to every host that matches, including those of others.",
			Fix:     "Write a DestinationRule for each host of the partner.",
			find:    byHand(wildcardWithClientCertificate),
		},
		{
			ID: "MTE211", Group: Istio, Name: "mesh-certificate-to-partner", Severity: Error,
			Summary: "A DestinationRule uses the mode ISTIO_MUTUAL for a host outside of the mesh.",
			Effect: "The sidecar presents its certificate of the mesh, and accepts only servers with one, so calls " +
				"to the partner get 503. On a bare port, the app's own https calls get two layers of TLS.",
			Fix:  "Use the mode MUTUAL with the files of the partner's client certificate.",
			find: byHand(meshCertificateToPartner),
		},
	}
}

func hostWithoutServiceEntry(h *handWritten, report report) {
	for _, rule := range h.DestinationRules {
		host := mesh.NormalHost(rule.Value.Spec.Host)
		if h.external(host) && host != "*" && startsTLS(rule) && len(h.entriesUnder(host)) == 0 {
			report(rule.Object, []any{"spec", "host"}, fmt.Sprintf(
				"no ServiceEntry of the input names %s; if none in the cluster does, the TLS settings never apply, and calls "+
					"leave in plain text", host))
		}
	}
}

func tlsOnUnknownPort(h *handWritten, report report) {
	for _, s := range h.starts {
		entries := h.entriesUnder(s.host)
		if s.port == 0 || len(entries) == 0 ||
			slices.ContainsFunc(entries, func(e entry) bool { return e.port(s.port) != nil }) {
			continue
		}
		report(s.Object, s.path, fmt.Sprintf(
			"no ServiceEntry of the input has port %d for %s (ServiceEntry %s has %s), so TLS never applies", s.port, s.host,
			entries[0].Location.Name, portsOf(entries[0])))
	}
}

func portsOf(e entry) string {
	var numbers []string
	for _, port := range e.Value.Spec.Ports {
		numbers = append(numbers, strconv.FormatUint(uint64(port.Number), 10))
	}
	return strings.Join(numbers, ", ")
}

func subsetWithoutRoute(h *handWritten, report report) {
	for _, s := range h.starts {
		routes := slices.DeleteFunc(h.sidecarRoutes(s.host), func(r route) bool {
			return r.Location.Namespace != s.Location.Namespace
		})
		if s.subset == "" || len(routes) == 0 || h.used[s.host+"/"+s.subset] {
			continue
		}
		r := routes[0]
		report(s.Object, s.path, fmt.Sprintf(
			"no route of the input leads to the subset %s of %s: VirtualService %s leads to %s, so these TLS settings never "+
				"apply", s.subset, s.host, r.Location.Name, destinationText(r)))
	}
}

// destinationText names the subset and the port of a destination.
func destinationText(r route) string {
	var parts []string
	if subset := r.destination.GetSubset(); subset != "" {
		parts = append(parts, "the subset "+subset)
	}
	if port := r.destination.GetPort().GetNumber(); port != 0 {
		parts = append(parts, fmt.Sprintf("port %d", port))
	}
	if len(parts) == 0 {
		return "the host itself"
	}
	return strings.Join(parts, ", ")
}

func credentialAtSidecar(h *handWritten, report report) {
	for _, s := range h.starts {
		if h.ignoredBySidecars(s) && h.usedBySidecars(s) {
			report(s.Object, s.at("credentialName"), fmt.Sprintf(
				"sidecars read credentialName (%s) only in a DestinationRule with a workloadSelector, so calls to %s leave in "+
					"plain text", s.tls.CredentialName, s.host))
		}
	}
}

// usedBySidecars reports whether calls of sidecars reach the settings: by a route, or without one
// on an HTTP port.
func (h *handWritten) usedBySidecars(s start) bool {
	if len(h.routesOf[s.host]) > 0 {
		return slices.ContainsFunc(h.sidecarRoutes(s.host), s.leadsTo)
	}
	return s.subset == "" && slices.ContainsFunc(h.entriesFor(s.host), func(e entry) bool {
		return slices.ContainsFunc(e.Value.Spec.Ports, func(port *networking.ServicePort) bool {
			return mesh.IsHTTP(port.Protocol) && (s.port == 0 || s.port == port.Number)
		})
	})
}

func selectorWithoutPods(h *handWritten, report report) {
	for _, rule := range h.DestinationRules {
		pods := h.podsOf[rule.Location.Namespace]
		if rule.Value.Spec.WorkloadSelector == nil || !startsTLS(rule) || len(pods) == 0 || len(h.selected(rule)) > 0 {
			continue
		}
		report(rule.Object, []any{"spec", "workloadSelector"}, fmt.Sprintf(
			"the labels %s select 0 of %s of the input%s", labelsText(selectorOf(rule)),
			egress.Counted(len(pods), "Pod template"), inNamespace(rule.Location.Namespace)))
	}
}

func labelsText(selector map[string]string) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		pairs = append(pairs, key+"="+selector[key])
	}
	return strings.Join(pairs, ",")
}

func ruleSortedFirst(h *handWritten, report report) {
	for _, s := range h.starts {
		for _, other := range h.rulesOf[s.host] {
			if other.Location.Namespace != s.Location.Namespace || other.Value.Name == s.Value.Name ||
				isOrigination(settingsFor(other, s.subset, s.port)) {
				continue
			}
			if reason, first := h.comesFirst(other, s); first {
				report(s.Object, s.path, fmt.Sprintf("DestinationRule %s is for %s too and has no TLS here; %s",
					other.Location.Name, s.host, reason))
				break
			}
		}
	}
}

// comesFirst reports whether Istio can use other in place of the settings, and why.
// https://github.com/istio/istio/blob/1.30.3/pilot/pkg/model/destination_rule.go
func (h *handWritten) comesFirst(other destinationRule, s start) (reason string, first bool) {
	ours, theirs := selectorOf(s.destinationRule), selectorOf(other)
	created, older := s.Value.CreationTimestamp, other.Value.CreationTimestamp
	switch {
	case len(ours) == 0 && len(theirs) > 0:
		return "Pods with " + labelsText(theirs) + " use only that rule, because it has a workloadSelector", h.known(other)
	case !maps.Equal(ours, theirs) || !replaces(other, s):
		return "", false
	case created.IsZero() || older.IsZero():
		return "Istio keeps the older one, which files don't show, and of two with the same age the first by name", true
	}
	return "it is older, so Istio keeps it and drops this one", older.Before(&created) ||
		older.Equal(&created) && other.Value.Name < s.Value.Name
}

// known reports whether the input shows Pods that the rule selects, or no Pods at all.
func (h *handWritten) known(rule destinationRule) bool {
	return len(h.podsOf[rule.Location.Namespace]) == 0 || len(h.selected(rule)) > 0
}

// replaces reports whether other sets what the settings are part of: the policy, or the subset.
func replaces(other destinationRule, s start) bool {
	if s.subset == "" {
		return other.Value.Spec.TrafficPolicy != nil
	}
	return slices.ContainsFunc(other.Value.Spec.Subsets, func(subset *networking.Subset) bool {
		return subset.GetName() == s.subset
	})
}

func selectorWithExport(h *handWritten, report report) {
	for _, rule := range h.DestinationRules {
		beyond := func(namespace string) bool { return namespace != "." && namespace != rule.Location.Namespace }
		exportTo := rule.Value.Spec.ExportTo
		if rule.Value.Spec.WorkloadSelector != nil && startsTLS(rule) &&
			(slices.ContainsFunc(exportTo, beyond) || len(exportTo) > 1) {
			report(rule.Object, []any{"spec", "exportTo"}, fmt.Sprintf(
				"exportTo is %s, but a DestinationRule with a workloadSelector can only be for its own namespace",
				strings.Join(exportTo, ", ")))
		}
	}
}

func wildcardWithClientCertificate(h *handWritten, report report) {
	for _, s := range h.starts {
		if strings.HasPrefix(s.host, "*") && s.presents() {
			report(s.Object, []any{"spec", "host"}, "the client certificate is presented to every host that matches "+s.host)
		}
	}
}

func meshCertificateToPartner(h *handWritten, report report) {
	for _, rule := range h.DestinationRules {
		host := mesh.NormalHost(rule.Value.Spec.Host)
		for _, s := range settingsIn(rule) {
			if s.tls.Mode == networking.ClientTLSSettings_ISTIO_MUTUAL && h.external(host) &&
				slices.ContainsFunc(h.entriesUnder(host), isPartner) {
				report(rule.Object, s.at("mode"), fmt.Sprintf(
					"ISTIO_MUTUAL presents the certificate of the mesh to %s, which is outside of the mesh", host))
			}
		}
	}
}

// isPartner reports whether the ServiceEntry is for servers outside of the mesh.
func isPartner(e entry) bool {
	return e.Value.Spec.Location == networking.ServiceEntry_MESH_EXTERNAL && e.Value.Spec.WorkloadSelector == nil &&
		!slices.ContainsFunc(e.Value.Spec.Endpoints, func(endpoint *networking.WorkloadEntry) bool {
			return endpoint.GetServiceAccount() != "" || endpoint.GetNetwork() != ""
		})
}

// visible reports whether a rule is visible in the namespace.
func visible(rule destinationRule, namespace string) bool {
	return mesh.Visible(rule.Value.Spec.ExportTo, rule.Location.Namespace, namespace)
}
