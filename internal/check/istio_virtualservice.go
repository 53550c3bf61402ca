package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"mtls.egress/webhook/internal/mesh"
)

// virtualServiceRules returns the rules for VirtualServices that sidecars don't follow, or that
// more Pods follow than have a certificate.
func virtualServiceRules() []Rule {
	return []Rule{
		{
			ID: "MTE228", Group: Istio, Name: "virtual-service-missing", Severity: Warning,
			Summary: "No VirtualService of the input routes plain calls to the TLS settings.",
			Effect:  "Calls to http://external.system.com stay on port 80 and leave in plain text.",
			Fix: "Add a VirtualService that routes port 80 to the subset; or set targetPort: 443 for port 80 in the " +
				"ServiceEntry and start TLS on port 80.",
			find: byHand(virtualServiceMissing),
		},
		{
			ID: "MTE229", Group: Istio, Name: "virtual-service-shadowed", Severity: Error,
			Summary: "Two VirtualServices for sidecars name the same host, and Istio uses only one of them.",
			Effect: "Sidecars never merge VirtualServices: they use a private one, then the older. If that is the other one, " +
				"calls leave in plain text.",
			Fix:  "Write all routes of the host into one VirtualService.",
			find: byHand(virtualServiceShadowed),
		},
		{
			ID: "MTE230", Group: Istio, Name: "virtual-service-of-gateways", Severity: Warning,
			Summary: "The VirtualServices for the host are for gateways only.",
			Effect: "Without gateways: [mesh], sidecars don't follow the route. Calls of Pods stay on port 80 and leave in " +
				"plain text.",
			Fix:  "Add mesh to spec.gateways, or a route for mesh that leads to the egress gateway.",
			find: byHand(virtualServiceOfGateways),
		},
		{
			ID: "MTE231", Group: Istio, Name: "source-labels-missing", Severity: Error,
			Summary: "The DestinationRule has a workloadSelector, but the route to it has no sourceLabels.",
			Effect: "Pods that the selector doesn't select follow the route too. To a subset they get 503; to a port, their " +
				"calls leave in plain text to port 443.",
			Fix:  "Give the match the labels of the workloadSelector as sourceLabels.",
			find: byHand(sourceLabelsMissing),
		},
		{
			ID: "MTE232", Group: Istio, Name: "redirect-to-https", Severity: Warning,
			Summary: "The VirtualService redirects calls to https, instead of routing them to the TLS settings.",
			Effect: "The app gets 301 and connects to port 443 itself: without the client certificate, or with two layers of " +
				"TLS.",
			Fix:  "Replace redirect with a route to the subset.",
			find: byHand(redirectToHTTPS),
		},
		{
			ID: "MTE233", Group: Istio, Name: "own-tls-to-tls-settings", Severity: Error,
			Summary: "A TLS route leads the app's own https to TLS settings of a DestinationRule.",
			Effect:  "The app's own https calls get two layers of TLS and fail.",
			Fix:     "Remove the subset from the TLS route, or remove the route.",
			find:    byHand(ownTLSToTLSSettings),
		},
	}
}

func virtualServiceMissing(h *handWritten, report report) {
	told := map[string]bool{}
	for _, s := range h.starts {
		key := s.Location.Namespace + "/" + s.host
		if told[key] || len(h.routesOf[s.host]) > 0 || len(h.routersOf[s.host]) > 0 || strings.HasPrefix(s.host, "*") ||
			h.startsOnHTTP(s.host) || h.movesHTTPPort(s.host) || h.onlyOtherProtocols(s.host) || h.hasHTTPRoute(s.host) {
			continue
		}
		told[key] = true
		number := h.plainPortOf(s.host)
		started := slices.ContainsFunc(h.startsOf[s.host], func(s start) bool { return h.startsOnBare(s, number) })
		url, outcome := "http://"+s.host, "leave in plain text"
		switch {
		case started && number == 80:
			outcome = "fail, because TLS starts on the partner's port 80"
		case started:
			continue // the partner may speak TLS there
		case number != 80:
			url = fmt.Sprintf("%s:%d", url, number)
		}
		report(s.Object, s.path, fmt.Sprintf(
			"no VirtualService of the input routes calls to %s here; if none in the cluster does, calls to %s %s",
			s.host, url, outcome))
	}
}

// plainPortOf returns the port that apps use for plain calls to the host: 80, or the first HTTP
// port of a ServiceEntry if it has others only.
func (h *handWritten) plainPortOf(host string) uint32 {
	var other uint32
	for _, e := range h.entriesFor(host) {
		for _, port := range e.Value.Spec.Ports {
			switch {
			case port.Number == 80:
				return 80
			case mesh.IsHTTP(port.Protocol) && other == 0:
				other = port.Number
			}
		}
	}
	return cmp.Or(other, 80)
}

// startsOnBare reports whether sidecars start TLS on the port of the host, as the input shows it.
func (h *handWritten) startsOnBare(s start, number uint32) bool {
	return s.subset == "" && (s.port == 0 || s.port == number) && !h.ignoredBySidecars(s) &&
		slices.ContainsFunc(h.entriesFor(s.host), func(e entry) bool { return e.port(number) != nil })
}

// hasHTTPRoute reports whether an HTTPRoute of the input can route calls to the host: by its
// parent, a ServiceEntry, by its host names, or by a backend.
func (h *handWritten) hasHTTPRoute(host string) bool {
	return slices.ContainsFunc(h.HTTPRoutes, func(route Typed[*gatewayv1.HTTPRoute]) bool {
		return slices.ContainsFunc(route.Value.Spec.Hostnames, func(name gatewayv1.Hostname) bool {
			return mesh.Covers(string(name), host)
		}) || slices.ContainsFunc(route.Value.Spec.ParentRefs, func(parent gatewayv1.ParentReference) bool {
			return slices.ContainsFunc(h.entriesFor(host), func(e entry) bool {
				return parent.Kind != nil && *parent.Kind == mesh.KindServiceEntry && e.Location.Name == string(parent.Name)
			})
		}) || slices.ContainsFunc(route.Value.Spec.Rules, func(rule gatewayv1.HTTPRouteRule) bool {
			return slices.ContainsFunc(rule.BackendRefs, func(backend gatewayv1.HTTPBackendRef) bool {
				return mesh.NormalHost(string(backend.Name)) == host
			})
		})
	})
}

// startsOnHTTP reports whether TLS starts on an HTTP port of the host, so that no VirtualService is
// needed.
func (h *handWritten) startsOnHTTP(host string) bool {
	return slices.ContainsFunc(h.entriesFor(host), func(e entry) bool {
		return slices.ContainsFunc(e.Value.Spec.Ports, func(port *networking.ServicePort) bool {
			return mesh.IsHTTP(port.Protocol) && slices.ContainsFunc(h.startsOf[host], func(s start) bool {
				return s.subset == "" && (s.port == 0 || s.port == port.Number) && !h.maybeRoutedAway(s)
			})
		})
	})
}

// movesHTTPPort reports whether a ServiceEntry leads an HTTP port of the host to another port, so
// that no VirtualService is needed. Whether TLS starts there is for another rule.
func (h *handWritten) movesHTTPPort(host string) bool {
	return slices.ContainsFunc(h.entriesFor(host), func(e entry) bool {
		return slices.ContainsFunc(e.Value.Spec.Ports, func(port *networking.ServicePort) bool {
			return mesh.IsHTTP(port.Protocol) && port.TargetPort != 0
		})
	})
}

// onlyOtherProtocols reports whether the ServiceEntries of the host have ports, and all are for
// protocols other than HTTP and TLS, such as a database.
func (h *handWritten) onlyOtherProtocols(host string) bool {
	entries := h.entriesFor(host)
	return len(entries) > 0 && !slices.ContainsFunc(entries, func(e entry) bool {
		return slices.ContainsFunc(e.Value.Spec.Ports, func(port *networking.ServicePort) bool {
			return mesh.IsHTTP(port.Protocol) || isTLS(port.Protocol) || port.Number == 443
		})
	})
}

func virtualServiceShadowed(h *handWritten, report report) {
	for host, routers := range sortedBy(h.routersOf) {
		for _, router := range routers {
			if !h.routesToTLS(router, host) {
				continue
			}
			if reason, other := h.shadow(router, routers); reason != "" {
				report(router.Object, []any{"spec", "hosts"}, fmt.Sprintf(
					"VirtualService %s routes %s too, and sidecars use only one; %s", other.Location.Name, host, reason))
			}
		}
	}
}

// sortedBy iterates over a map in the order of its keys.
func sortedBy[T any](values map[string]T) func(yield func(string, T) bool) {
	return func(yield func(string, T) bool) {
		for _, key := range slices.Sorted(maps.Keys(values)) {
			if !yield(key, values[key]) {
				return
			}
		}
	}
}

// routesToTLS reports whether sidecars follow the VirtualService to TLS settings of the host.
func (h *handWritten) routesToTLS(router virtualService, host string) bool {
	return slices.ContainsFunc(h.routesIn(router), func(r route) bool {
		return r.inSidecars() && r.host == host && slices.ContainsFunc(h.startsOf[host], func(s start) bool {
			return s.leadsTo(r)
		})
	})
}

// shadow returns a VirtualService that sidecars can use in place of router, and why.
func (h *handWritten) shadow(router virtualService, routers []virtualService) (reason string, other virtualService) {
	namespace := router.Location.Namespace
	for _, other := range routers {
		sameObject := other.Value.Name == router.Value.Name && other.Location.Namespace == namespace
		exportTo := other.Value.Spec.ExportTo
		if sameObject || !hasSidecarRoutes(other) || !mesh.Visible(exportTo, other.Location.Namespace, namespace) {
			continue
		}
		created, theirs := router.Value.CreationTimestamp, other.Value.CreationTimestamp
		switch mine, its := reach(router, namespace), reach(other, namespace); {
		case its < mine:
			return "they prefer that one, because it is not exported to all namespaces", other
		case mine < its:
		case created.IsZero() || theirs.IsZero():
			return "the older one, which files don't show", other
		case theirs.Before(&created) || theirs.Equal(&created) && other.Value.Name < router.Value.Name:
			return "that one, because it is older", other
		}
	}
	return "", virtualService{}
}

// reach orders VirtualServices as Istio looks them up: private ones of the namespace, those
// exported to it by name, public ones.
func reach(router virtualService, namespace string) int {
	switch exportTo := router.Value.Spec.ExportTo; {
	case len(exportTo) == 0 || slices.Contains(exportTo, "*"):
		return 2
	case router.Location.Namespace != namespace:
		return 1
	}
	return 0
}

func hasSidecarRoutes(router virtualService) bool {
	if len(router.Value.Spec.Http) == 0 {
		return false
	}
	routes := routesIn(router)
	return slices.ContainsFunc(routes, route.inSidecars) || len(routes) == 0 && onMesh(router.Value.Spec.Gateways)
}

func virtualServiceOfGateways(h *handWritten, report report) {
	for host, routers := range sortedBy(h.routersOf) {
		if len(h.startsOf[host]) == 0 || h.startsOnHTTP(host) ||
			slices.ContainsFunc(routers, hasSidecarRoutes) ||
			slices.ContainsFunc(routers, func(router virtualService) bool { return len(router.Value.Spec.Http) == 0 }) {
			continue
		}
		report(routers[0].Object, []any{"spec", "gateways"}, fmt.Sprintf(
			"the routes for %s are for the gateways %s, and no VirtualService of the input is for sidecars (mesh)", host,
			strings.Join(routers[0].Value.Spec.Gateways, ", ")))
	}
}

func sourceLabelsMissing(h *handWritten, report report) {
	for _, r := range h.routes {
		if !r.inSidecars() {
			continue
		}
		index := slices.IndexFunc(h.startsOf[r.host], func(s start) bool { return s.leadsTo(r) })
		if index < 0 || h.startsForAll(r) {
			continue
		}
		s := h.startsOf[r.host][index]
		if unlabeled, found := r.unlabeled(selectorOf(s.destinationRule)); found {
			report(r.Object, append(slices.Clip(r.path), unlabeled...), fmt.Sprintf(
				"the route to %s leads to DestinationRule %s, which is only for Pods with %s, but applies to all Pods",
				r.host, s.Location.Name, labelsText(selectorOf(s.destinationRule))))
		}
	}
}

// startsForAll reports whether TLS settings without a selector are there for all Pods that follow
// the route.
func (h *handWritten) startsForAll(r route) bool {
	return slices.ContainsFunc(h.startsOf[r.host], func(s start) bool {
		return s.leadsTo(r) && len(selectorOf(s.destinationRule)) == 0
	})
}

// unlabeled returns the path to a match for sidecars that Pods without the labels can match.
func (r route) unlabeled(selector map[string]string) (path []any, found bool) {
	if len(r.http.Match) == 0 {
		return nil, true
	}
	for n, match := range r.http.Match {
		gateways := match.GetGateways()
		if len(gateways) > 0 && !slices.Contains(gateways, "mesh") {
			continue
		}
		if len(match.GetSourceLabels()) == 0 && len(selector) > 0 {
			return []any{"match", n}, true
		}
	}
	return nil, false
}

func redirectToHTTPS(h *handWritten, report report) {
	for host, routers := range sortedBy(h.routersOf) {
		if len(h.startsOf[host]) == 0 {
			continue
		}
		for _, router := range routers {
			for n, http := range router.Value.Spec.Http {
				if http.GetRedirect().GetScheme() == "https" && onMesh(router.Value.Spec.Gateways) {
					report(router.Object, []any{"spec", "http", n, "redirect"}, fmt.Sprintf(
						"calls to http://%s get a redirect to https, so the app must do TLS itself", host))
				}
			}
		}
	}
}

func ownTLSToTLSSettings(h *handWritten, report report) {
	for _, router := range h.VirtualServices {
		if !onMesh(router.Value.Spec.Gateways) {
			continue
		}
		for i, tls := range router.Value.Spec.Tls {
			for n, each := range tls.Route {
				destination := each.GetDestination()
				host := mesh.NormalHost(destination.GetHost())
				if index := slices.IndexFunc(h.startsOf[host], func(s start) bool {
					return destination.GetSubset() != "" && s.subset == destination.GetSubset() && !h.ignoredBySidecars(s) &&
						(s.port == 0 || s.port == destination.GetPort().GetNumber())
				}); index >= 0 {
					report(router.Object, []any{"spec", "tls", i, "route", n, "destination"}, fmt.Sprintf(
						"the subset %s of %s starts TLS, but these calls are TLS already", destination.GetSubset(), host))
				}
			}
		}
	}
}
