package check

import (
	"cmp"
	"fmt"

	"mtls.egress/webhook/internal/mesh"
)

// bareTLSRules returns the rules for TLS that also applies to calls that it isn't meant for.
func bareTLSRules() []Rule {
	return []Rule{
		{
			ID: "MTE201", Group: Istio, Name: "tls-on-bare-port", Severity: Error,
			Summary: "A DestinationRule starts TLS on port 443 itself, instead of on a subset that only the " +
				"VirtualService uses.",
			Effect: "The app's own https calls to the host get two layers of TLS and fail. When the DestinationRule is " +
				"deleted, calls leave in plain text to port 443.",
			Fix: "Write the TLS settings into a subset, and let the VirtualService route port 80 to that subset; or " +
				"replace the objects with the annotation mtls.egress/target.",
			find: byHand(tlsOnBarePort),
		},
		{
			ID: "MTE202", Group: Istio, Name: "tls-on-plain-port", Severity: Error,
			Summary: "A DestinationRule starts TLS on an HTTP port that leads to a plain port of the partner.",
			Effect: "The sidecar starts a TLS handshake with the partner's port 80, which doesn't speak TLS, and calls get " +
				"503.",
			Fix:  "Set targetPort: 443 for that port in the ServiceEntry.",
			find: byHand(tlsOnPlainPort),
		},
	}
}

func tlsOnBarePort(h *handWritten, report report) {
	for _, s := range h.starts {
		if s.subset != "" || h.forGateways(s) || h.ignoredBySidecars(s) {
			continue
		}
		const twice = "so the app's own https calls get two layers of TLS"
		switch {
		case s.port == 0 && h.anyTLSPort(s.host):
			report(s.Object, s.path, fmt.Sprintf("TLS applies to all ports of %s, %s", s.host, twice))
		case s.port != 0 && h.carriesTLS(s.host, s.port):
			report(s.Object, s.path, fmt.Sprintf(
				"TLS applies to port %d of %s, %s, and without this DestinationRule calls leave in plain text",
				s.port, s.host, twice))
		}
	}
}

// forGateways reports whether only gateways use the settings: no sidecar follows a route to them,
// or sees them.
func (h *handWritten) forGateways(s start) bool {
	exportTo := s.Value.Spec.ExportTo
	private := len(exportTo) == 1 && (exportTo[0] == "." || exportTo[0] == s.Location.Namespace)
	return h.onlyInGateways(s.host) && private
}

// ignoredBySidecars reports whether sidecars leave out the settings, because they name a credential
// and no Pods.
func (h *handWritten) ignoredBySidecars(s start) bool {
	return s.tls.CredentialName != "" && s.Value.Spec.WorkloadSelector == nil
}

func (h *handWritten) anyTLSPort(host string) bool {
	for _, e := range h.entriesUnder(host) {
		for _, port := range e.Value.Spec.Ports {
			if h.carriesTLS(e.host, port.Number) {
				return true
			}
		}
	}
	return false
}

func tlsOnPlainPort(h *handWritten, report report) {
	for _, s := range h.starts {
		if s.subset != "" || h.maybeRoutedAway(s) {
			continue
		}
		for _, e := range h.entriesFor(s.host) {
			for n, port := range e.Value.Spec.Ports {
				if s.port != port.Number && (s.port != 0 || port.Number != 80) || !mesh.IsHTTP(port.Protocol) {
					continue
				}
				if number := cmp.Or(port.TargetPort, port.Number); number == 80 && !movedInEndpoints(e, port.Name) &&
					!h.routedAway(s.host, port.Number) {
					report(e.Object, []any{"spec", "ports", n}, fmt.Sprintf(
						"port %d of %s has no targetPort, but DestinationRule %s starts TLS on it, so the handshake goes to the "+
							"partner's plain port 80; set targetPort: 443", port.Number, s.host, s.Location.Name))
				}
			}
		}
	}
}

// maybeRoutedAway reports whether a VirtualService that the input doesn't have could lead calls to
// other TLS settings of the host: it has some, and no VirtualService.
func (h *handWritten) maybeRoutedAway(s start) bool {
	return len(h.routersOf[s.host]) == 0 &&
		(len(h.startsOf[s.host]) > 1 || s.port == 0 && h.anyTLSPort(s.host))
}

// movedInEndpoints reports whether an endpoint of the ServiceEntry has another number for the port.
func movedInEndpoints(e entry, name string) bool {
	for _, endpoint := range e.Value.Spec.Endpoints {
		if _, found := endpoint.Ports[name]; found {
			return true
		}
	}
	return false
}

// routedAway reports whether sidecars route calls on the port of the host to another port.
func (h *handWritten) routedAway(host string, number uint32) bool {
	for _, r := range h.sidecarRoutes(host) {
		if to := r.destination.GetPort().GetNumber(); r.catches(number) && to != 0 && to != number {
			return true
		}
	}
	return false
}

// catches reports whether calls on the port can follow the route.
func (r route) catches(number uint32) bool {
	if len(r.http.Match) == 0 {
		return true
	}
	for _, match := range r.http.Match {
		if match.Port == 0 || match.Port == number {
			return true
		}
	}
	return false
}
