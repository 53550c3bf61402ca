package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/internal/egress"
)

// meshGateway is the reserved gateway name for all sidecars in a VirtualService, and the default.
const meshGateway = "mesh"

// virtualServices finds the VirtualServices that also route plain HTTP calls to the host. Istio
// never merges them in sidecars. Of two with the same host, it prefers a private one, then one that
// another namespace exported by name, then a public one, and then the older. The exact host wins
// over a wildcard. Ours is private and names the exact host.
func (s search) virtualServices(all []*networkingv1.VirtualService) []Conflict {
	theirs, ours := foreign(s, all)
	var conflicts []Conflict
	for _, virtualService := range theirs {
		if s.hasOurName(virtualService) {
			// It replaces our route, regardless of its content.
			conflicts = append(conflicts, s.nameTaken(KindVirtualService, virtualService).closing())
			continue
		}
		reach := reachOf(
			virtualService.Spec.GetExportTo(), s.mesh.VirtualServiceExportTo, virtualService.Namespace, s.target.Namespace)
		if reach == unseen || !onMesh(virtualService.Spec.GetGateways()) {
			continue
		}
		if index := slices.IndexFunc(virtualService.Spec.GetHosts(), s.isOurs); index >= 0 {
			field, host := fmt.Sprintf("spec.hosts[%d]", index), virtualService.Spec.GetHosts()[index]
			conflict := s.reserved(KindVirtualService, virtualService, field, host)
			// Istio prefers ours to any that isn't private, and no route of ours is only for the anchor.
			if reach == private && !strings.EqualFold(host, egress.AnchorHost) {
				conflict = conflict.closing()
			}
			conflicts = append(conflicts, conflict)
			continue
		}
		wildcard := slices.IndexFunc(virtualService.Spec.GetHosts(), s.coversListener)
		taken, routed := s.routesSinkhole(virtualService)
		if wildcard >= 0 && routed {
			field := fmt.Sprintf("spec.hosts[%d]", wildcard)
			conflicts = append(conflicts, s.conflict(KindVirtualService, virtualService, field, BreaksOurs,
				"has a TCP route for %s, the sinkhole address of %s, and matches the generated ServiceEntries "+
					"with the wildcard %s, so calls of the target's Pods may follow that route in plain text; use "+
					"subnets outside %s in the route",
				taken, s.target.Host, virtualService.Spec.GetHosts()[wildcard], s.target.Sinkhole).closing())
			continue
		}
		if wildcard >= 0 && s.routesConnections(virtualService) {
			field := fmt.Sprintf("spec.hosts[%d]", wildcard)
			conflicts = append(conflicts, s.conflict(KindVirtualService, virtualService, field, BreaksOurs,
				"has a TCP route for port %d and matches the generated ServiceEntries with the wildcard %s, so Istio may apply "+
					"it to calls to %s, which then fail; list the intended hosts, or the intended port",
				s.target.AppPort, virtualService.Spec.GetHosts()[wildcard], s.target.Host))
			continue
		}
		index, exact, found := s.matchHost(virtualService.Spec.GetHosts())
		if !found || !s.routesCalls(virtualService) {
			continue
		}
		field := fmt.Sprintf("spec.hosts[%d]", index)
		switch first := ours == nil || before(virtualService, ours); {
		case !exact:
			conflicts = append(conflicts, s.conflict(KindVirtualService, virtualService, field, HiddenByOurs,
				"matches %s with the wildcard %s, but the generated VirtualService names the exact host, so http calls of the "+
					"target's Pods no longer follow it, nor do those of other Pods of the namespace if a ServiceEntry names the "+
					"host; list the intended hosts instead of the wildcard, or call this host without a target",
				s.target.Host, virtualService.Spec.Hosts[index]))
		case reach == private && first:
			conflicts = append(conflicts, s.replaceable(virtualService, s.conflict(
				KindVirtualService, virtualService, field, WinsOverOurs,
				"also routes %s, is private to the namespace and is older than the generated VirtualService, so http calls of "+
					"the target's Pods follow it, without mutual TLS; replace it with a younger copy, because Pods without the "+
					"annotation may call in plain text without it, and delete the copy when all Pods that call the host are "+
					"annotated and replaced",
				s.target.Host).closing()))
		case virtualService.Namespace == s.target.Namespace:
			conflicts = append(conflicts, s.replaceable(virtualService, s.conflict(
				KindVirtualService, virtualService, field, HiddenByOurs,
				"also routes %s, but Istio prefers the generated VirtualService and doesn't merge the two, so http calls of the "+
					"target's Pods no longer follow it; remove the host from it when all Pods that call the host are annotated "+
					"and replaced, because the others may call in plain text without it",
				s.target.Host)))
		default:
			conflicts = append(conflicts, s.conflict(KindVirtualService, virtualService, field, HiddenByOurs,
				"also routes %s, but Istio prefers the generated VirtualService and doesn't merge the two, so http calls of the "+
					"target's Pods no longer follow it; remove the host from it",
				s.target.Host))
		}
	}
	return conflicts
}

// coversListener reports whether host is a wildcard that matches the listener's host. Istio then
// applies the TCP routes of its VirtualService at the listener. It applies the HTTP routes only if
// no VirtualService names the host itself.
func (s search) coversListener(host string) bool {
	return covers(host, egress.ListenerHost(s.target.Host, s.target.AppPort))
}

// routesSinkhole returns the sinkhole address for which the VirtualService has a TCP route. Istio
// replaces the listener's own route, in which Envoy parses HTTP first, with such a route.
func (s search) routesSinkhole(virtualService *networkingv1.VirtualService) (netip.Addr, bool) {
	for _, route := range virtualService.Spec.GetTcp() {
		for _, match := range route.GetMatch() {
			if match.GetPort() != 0 && match.GetPort() != portNumber(s.target.AppPort) {
				continue
			}
			for _, subnet := range match.GetDestinationSubnets() {
				if address, found := s.sinkhole(subnet); found {
					return address, true
				}
			}
		}
	}
	return netip.Addr{}, false
}

// sinkhole returns the sinkhole address that subnet is. A larger subnet is less specific than the
// listener's own route, so Envoy uses the latter.
func (s search) sinkhole(subnet string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(subnet)
	if prefix, prefixErr := netip.ParsePrefix(subnet); prefixErr == nil && prefix.IsSingleIP() {
		address, err = prefix.Addr(), nil
	}
	address = address.Unmap()
	return address, err == nil && slices.Contains(s.target.AllAddresses(), address)
}

// routesConnections reports whether the VirtualService has a TCP route for the app port.
func (s search) routesConnections(virtualService *networkingv1.VirtualService) bool {
	return slices.ContainsFunc(virtualService.Spec.GetTcp(), func(route *networking.TCPRoute) bool {
		matchesPort := func(match *networking.L4MatchAttributes) bool {
			return match.GetPort() == 0 || match.GetPort() == portNumber(s.target.AppPort)
		}
		return len(route.GetMatch()) == 0 || slices.ContainsFunc(route.GetMatch(), matchesPort)
	})
}

func onMesh(gateways []string) bool {
	return len(gateways) == 0 || slices.Contains(gateways, meshGateway)
}

// routesCalls reports whether the VirtualService has an HTTP route that a plain HTTP call of the
// target's Pods can match. Without one, Istio ignores it for them. See
// BuildHTTPRoutesForVirtualService and sourceMatchHTTP:
// https://github.com/istio/istio/blob/1.30.3/pilot/pkg/networking/core/route/route.go
func (s search) routesCalls(virtualService *networkingv1.VirtualService) bool {
	return slices.ContainsFunc(virtualService.Spec.Http, func(route *networking.HTTPRoute) bool {
		return len(route.GetMatch()) == 0 || slices.ContainsFunc(route.GetMatch(), s.matchesCalls)
	})
}

func (s search) matchesCalls(match *networking.HTTPMatchRequest) bool {
	if port := match.GetPort(); port != 0 && port != portNumber(s.target.AppPort) {
		return false
	}
	if gateways := match.GetGateways(); len(gateways) > 0 {
		return slices.Contains(gateways, meshGateway)
	}
	namespace := match.GetSourceNamespace()
	return s.mayMatch(match.GetSourceLabels()) && (namespace == "" || namespace == s.target.Namespace)
}
