package adopt

import (
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// meshGateway is the gateway of a VirtualService that stands for all sidecars.
const meshGateway = "mesh"

// calls is the way of the app's plain HTTP calls.
type calls struct {
	// appPort is the port that the app calls, and port the one of the ServiceEntry to which the calls
	// go.
	appPort, port uint32
	// route is the route of the VirtualService, at index n, or nil without one.
	route *networking.HTTPRoute
	n     int
	// subset is the subset of the DestinationRule, or "".
	subset string
}

// findCalls finds the first way of plain HTTP calls that ends in mutual TLS. The others are lost.
func (s *set) findCalls() {
	ways := s.direct()
	if len(s.services) > 0 {
		ways = s.routed()
	}
	if len(s.proposal.Refused) > 0 {
		return
	}
	for _, way := range ways {
		if settings := s.policyFor(way).GetTls(); isMutual(settings) {
			if s.tls == nil {
				s.calls, s.tls = way, settings
			} else if way.appPort != s.calls.appPort || way.port != s.calls.port {
				s.losePort(way.appPort)
			}
		}
	}
	if s.tls == nil {
		s.refuse(fmt.Sprintf("no plain HTTP call to %s ends in the mutual TLS of the %s: no route leads to its port or "+
			"subset; the app itself may speak TLS, and then needs no target", s.host, reference(s.rules[0].Object)))
		return
	}
	if s.portIndex(s.calls.port) < 0 {
		s.refuse(fmt.Sprintf("the %s (spec.ports) has no port %d, to which the calls go, so they fail; add "+
			"{number: %d, name: tls, protocol: TLS}", reference(s.entries[0].Object), s.calls.port, s.calls.port))
		return
	}
	if s.calls.appPort == egress.DefaultPort || s.calls.appPort == s.partnerPort() {
		s.refuse(fmt.Sprintf("the apps call http://%s:%d, which is the partner's TLS port as well, and an EgressTarget "+
			"needs two ports; let the apps call http://%s first, with port 80 in the ServiceEntry",
			s.host, s.calls.appPort, s.host))
	}
}

// losePort lists an app port besides the first one. A VirtualService can have one that the
// ServiceEntry lacks.
func (s *set) losePort(appPort uint32) {
	object, field := s.entries[0].Object, fmt.Sprintf("spec.ports[%d]", s.portIndex(appPort))
	if s.portIndex(appPort) < 0 {
		object, field = s.services[0].Object, "spec.http"
	}
	s.lose(object, field, fmt.Sprintf("an EgressTarget has one app port, so http://%s:%d is not taken over", s.host,
		appPort), true)
}

// direct returns the ways without a VirtualService: each HTTP port of the ServiceEntry.
func (s *set) direct() []calls {
	var ways []calls
	for _, port := range s.appPorts() {
		ways = append(ways, calls{appPort: port, port: port})
	}
	return ways
}

// appPorts returns the HTTP ports of the ServiceEntry, with 80 first.
func (s *set) appPorts() []uint32 {
	var ports []uint32
	for _, port := range s.entries[0].Value.Spec.Ports {
		if mesh.IsHTTP(port.GetProtocol()) {
			ports = append(ports, port.GetNumber())
		}
	}
	slices.SortStableFunc(ports, func(a, b uint32) int {
		switch {
		case a == b:
			return 0
		case a == egress.DefaultAppPort:
			return -1
		case b == egress.DefaultAppPort:
			return 1
		}
		return 0
	})
	return ports
}

// routed returns the ways through the VirtualService.
func (s *set) routed() []calls {
	service := s.services[0]
	if gateways := service.Value.Spec.Gateways; len(gateways) > 0 && !slices.Contains(gateways, meshGateway) {
		s.refuse(fmt.Sprintf("the %s is for the gateway %s alone, so an egress gateway presents the certificate, and "+
			"not the sidecar; annotated workloads call the partner from their own Pods, with the Secret in their namespace",
			reference(service.Object), gateways[0]))
		return nil
	}
	var ways []calls
	for n, route := range service.Value.Spec.Http {
		for _, port := range s.matchedPorts(route) {
			way, found := s.way(route, n, port)
			if found {
				ways = append(ways, way)
			}
		}
	}
	return ways
}

// way returns the way of calls on the app port along the route.
func (s *set) way(route *networking.HTTPRoute, n int, appPort uint32) (way calls, found bool) {
	if other := otherAnswer(route); other != "" {
		s.refuse(fmt.Sprintf("the %s (spec.http[%d].%s", reference(s.services[0].Object), n, other))
		return calls{}, false
	}
	if len(route.Route) != 1 {
		s.refuse(fmt.Sprintf("the %s (spec.http[%d].route) has %s, and a target has one",
			reference(s.services[0].Object), n, egress.Counted(len(route.Route), "destination")))
		return calls{}, false
	}
	destination := route.Route[0].GetDestination()
	if mesh.NormalHost(destination.GetHost()) != s.host {
		s.refuse(fmt.Sprintf("the %s (spec.http[%d].route) leads calls to %s, which is an egress gateway or another "+
			"name for the partner; with a target, the sidecar calls %s itself, so let the partner and your network admit "+
			"the Pods' own addresses, put the Secret into the namespace, and annotate the workloads by hand",
			reference(s.services[0].Object), n, destination.GetHost(), s.host))
		return calls{}, false
	}
	port := destination.GetPort().GetNumber()
	if port == 0 {
		port = appPort
	}
	return calls{appPort: appPort, port: port, route: route, n: n, subset: destination.GetSubset()}, true
}

// otherAnswer returns the field of a route that leads calls to no destination, and what that means.
func otherAnswer(route *networking.HTTPRoute) string {
	switch {
	case route.GetRedirect() != nil:
		return "redirect) answers calls with a redirect, and the calls of a target go to the partner; remove the route"
	case route.GetDirectResponse() != nil:
		return "directResponse) answers calls itself, and the calls of a target go to the partner; remove the route"
	case route.GetDelegate() != nil:
		return "delegate) leaves the route to another VirtualService, which is not followed; write the route in its place"
	}
	return ""
}

// policyFor returns the traffic policy of the DestinationRule for a way, as Istio merges that of
// the host with that of the subset.
// https://github.com/istio/istio/blob/1.30.3/pilot/pkg/networking/util/util.go
func (s *set) policyFor(way calls) *networking.TrafficPolicy {
	rule := &s.rules[0].Value.Spec
	policy, _ := atPort(rule.GetTrafficPolicy(), way.port)
	for _, subset := range rule.GetSubsets() {
		if way.subset != "" && subset.GetName() == way.subset && subset.GetTrafficPolicy() != nil {
			specific, ofPort := atPort(subset.GetTrafficPolicy(), way.port)
			return merge(policy, specific, ofPort)
		}
	}
	return policy
}

// atPort returns the settings of a policy for the port, which replace the others, or else the
// policy.
func atPort(policy *networking.TrafficPolicy, number uint32) (settings *networking.TrafficPolicy, ofPort bool) {
	for _, level := range policy.GetPortLevelSettings() {
		if level.GetPort().GetNumber() == number {
			return &networking.TrafficPolicy{
				LoadBalancer: level.GetLoadBalancer(), ConnectionPool: level.GetConnectionPool(),
				OutlierDetection: level.GetOutlierDetection(), Tls: level.GetTls(),
			}, true
		}
	}
	return policy, false
}

// merge returns the policy with the settings of a subset. If those are of a port, they also replace
// what they don't set, except for the settings that a port doesn't have.
func merge(policy, specific *networking.TrafficPolicy, ofPort bool) *networking.TrafficPolicy {
	merged := &networking.TrafficPolicy{
		Tunnel: policy.GetTunnel(), ProxyProtocol: policy.GetProxyProtocol(), RetryBudget: policy.GetRetryBudget(),
	}
	if !ofPort {
		merged.LoadBalancer, merged.ConnectionPool = policy.GetLoadBalancer(), policy.GetConnectionPool()
		merged.OutlierDetection, merged.Tls = policy.GetOutlierDetection(), policy.GetTls()
	}
	inherit(&merged.LoadBalancer, specific.GetLoadBalancer())
	inherit(&merged.ConnectionPool, specific.GetConnectionPool())
	inherit(&merged.OutlierDetection, specific.GetOutlierDetection())
	inherit(&merged.Tls, specific.GetTls())
	inherit(&merged.Tunnel, specific.GetTunnel())
	inherit(&merged.ProxyProtocol, specific.GetProxyProtocol())
	inherit(&merged.RetryBudget, specific.GetRetryBudget())
	return merged
}

// inherit replaces the setting by a more specific one.
func inherit[T any](setting **T, specific *T) {
	if specific != nil {
		*setting = specific
	}
}
