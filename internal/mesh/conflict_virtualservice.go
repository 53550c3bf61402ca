package mesh

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/internal/egress"
)

// meshGateway is the name that stands for all sidecars in a VirtualService's gateways. It is the
// default.
const meshGateway = "mesh"

// virtualServices finds the VirtualServices that route the plain HTTP calls to the host too. Istio
// never merges them in sidecars: of two with the same host it takes the private one before one that
// another namespace exported, that before a public one, and then the older. The exact host wins
// over a wildcard. Ours is private and names the exact host.
func (s search) virtualServices(all []*networkingv1.VirtualService) []Conflict {
	theirs, ours := foreign(s, all)
	var conflicts []Conflict
	for _, virtualService := range theirs {
		if s.hasOurName(virtualService) {
			// Whatever it says takes the place of our route.
			conflicts = append(conflicts, s.nameTaken(KindVirtualService, virtualService).closing())
			continue
		}
		reach := reachOf(virtualService.Spec.GetExportTo(), s.mesh.VirtualServiceExportTo, virtualService.Namespace, s.target.Namespace)
		if reach == unseen || !onMesh(virtualService.Spec.GetGateways()) {
			continue
		}
		if index := slices.IndexFunc(virtualService.Spec.GetHosts(), s.isOurs); index >= 0 {
			conflict := s.reserved(KindVirtualService, virtualService, fmt.Sprintf("spec.hosts[%d]", index), virtualService.Spec.GetHosts()[index])
			// Istio takes ours before any that isn't private, and no route of ours is for the anchor alone.
			if reach == private && !strings.EqualFold(virtualService.Spec.GetHosts()[index], egress.AnchorHost) {
				conflict = conflict.closing()
			}
			conflicts = append(conflicts, conflict)
			continue
		}
		wildcard := slices.IndexFunc(virtualService.Spec.GetHosts(), s.coversListener)
		if wildcard >= 0 && s.routesSinkhole(virtualService) {
			conflicts = append(conflicts, s.conflict(KindVirtualService, virtualService, fmt.Sprintf("spec.hosts[%d]", wildcard), BreaksOurs,
				"has a TCP route for %s, the sinkhole address of %s, and covers the generated ServiceEntries with the wildcard %s, so calls of "+
					"the target's Pods may go where it says and leave in plain text; give the route subnets outside 240.0.0.0/4",
				s.target.Address(), s.target.Host, virtualService.Spec.GetHosts()[wildcard]).closing())
			continue
		}
		if wildcard >= 0 && s.routesConnections(virtualService) {
			conflicts = append(conflicts, s.conflict(KindVirtualService, virtualService, fmt.Sprintf("spec.hosts[%d]", wildcard), BreaksOurs,
				"has a TCP route for port %d and covers the generated ServiceEntries with the wildcard %s, so Istio may apply it to calls to %s, which "+
					"fail then; name the hosts that it is for, or the port", s.target.AppPort, virtualService.Spec.GetHosts()[wildcard], s.target.Host))
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
				"covers %s with the wildcard %s, and ours names the host itself, so the http calls of the target's Pods no longer follow it, nor those of other Pods of the namespace if a ServiceEntry names the host; "+
					"name the hosts that it is for instead of the wildcard, or call this one without a target",
				s.target.Host, virtualService.Spec.Hosts[index]))
		case reach == private && first:
			conflicts = append(conflicts, s.conflict(KindVirtualService, virtualService, field, WinsOverOurs,
				"is for %s too, private to the namespace as ours is, and older, so the http calls of the target's Pods go where it says and not over mutual TLS; take the host out of it",
				s.target.Host).closing())
		default:
			conflicts = append(conflicts, s.conflict(KindVirtualService, virtualService, field, HiddenByOurs,
				"is for %s too, and Istio takes ours before it and merges none, so the http calls of the target's Pods no longer follow it; take the host out of it",
				s.target.Host))
		}
	}
	return conflicts
}

// coversListener reports whether host is a wildcard that the host of the listener falls under.
// Istio follows the TCP routes of its VirtualService at the listener then, and its HTTP routes only
// where none names the host itself.
func (s search) coversListener(host string) bool {
	return covers(host, egress.ListenerHost(s.target.Host, s.target.AppPort))
}

// routesSinkhole reports whether the VirtualService has a TCP route for the sinkhole address. Istio
// gives such a route the place of the listener's own, in which Envoy reads HTTP first.
func (s search) routesSinkhole(virtualService *networkingv1.VirtualService) bool {
	return slices.ContainsFunc(virtualService.Spec.GetTcp(), func(route *networking.TCPRoute) bool {
		return slices.ContainsFunc(route.GetMatch(), func(match *networking.L4MatchAttributes) bool {
			return (match.GetPort() == 0 || match.GetPort() == portNumber(s.target.AppPort)) &&
				slices.ContainsFunc(match.GetDestinationSubnets(), s.isSinkhole)
		})
	})
}

// isSinkhole reports whether subnet is the sinkhole address alone. One around it is less exact than
// the listener's own route, which Envoy takes then.
func (s search) isSinkhole(subnet string) bool {
	address := strings.TrimSuffix(subnet, "/32")
	return !strings.Contains(address, "/") && holds(address, s.target.Address())
}

// routesConnections reports whether the VirtualService has a TCP route for the app port.
func (s search) routesConnections(virtualService *networkingv1.VirtualService) bool {
	return slices.ContainsFunc(virtualService.Spec.GetTcp(), func(route *networking.TCPRoute) bool {
		return len(route.GetMatch()) == 0 || slices.ContainsFunc(route.GetMatch(), func(match *networking.L4MatchAttributes) bool {
			return match.GetPort() == 0 || match.GetPort() == portNumber(s.target.AppPort)
		})
	})
}

func onMesh(gateways []string) bool {
	return len(gateways) == 0 || slices.Contains(gateways, meshGateway)
}

// routesCalls reports whether the VirtualService has an HTTP route that a plain HTTP call of the
// target's Pods can take. Without one Istio leaves it out for them. See
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
