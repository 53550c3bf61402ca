package mesh

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/internal/egress"
)

// sidecars finds the Sidecars that can apply to Pods of the target and hide its objects from them.
// For a Pod, Istio uses a Sidecar of its namespace whose selector matches, else the oldest one
// without a selector, else the oldest one without a selector in the root namespace.
func (s search) sidecars(all []*networkingv1.Sidecar) []Conflict {
	var conflicts []Conflict
	var namespaceWide, meshWide *networkingv1.Sidecar
	for _, sidecar := range all {
		switch {
		case sidecar == nil:
		case sidecar.Namespace == s.target.Namespace && sidecar.Spec.WorkloadSelector != nil:
			if s.mayMatch(sidecar.Spec.WorkloadSelector.Labels) {
				conflicts = append(conflicts, s.sidecar(sidecar)...)
			}
		case sidecar.Spec.WorkloadSelector != nil:
		case sidecar.Namespace == s.target.Namespace:
			namespaceWide = first(namespaceWide, sidecar)
		case sidecar.Namespace == s.root:
			meshWide = first(meshWide, sidecar)
		}
	}
	switch {
	case namespaceWide != nil:
		conflicts = append(conflicts, s.sidecar(namespaceWide)...)
	case meshWide != nil:
		conflicts = append(conflicts, s.sidecar(meshWide)...)
	}
	return conflicts
}

// refusesUnknown reports whether the Sidecar may apply to Pods of the target and rejects calls to
// unknown hosts.
func (s search) refusesUnknown(sidecar *networkingv1.Sidecar) bool {
	if sidecar == nil {
		return false
	}
	selector := sidecar.Spec.GetWorkloadSelector()
	applies := sidecar.Namespace == s.target.Namespace && (selector == nil || s.mayMatch(selector.GetLabels())) ||
		sidecar.Namespace == s.root && selector == nil
	return applies && sidecar.Spec.GetOutboundTrafficPolicy() != nil &&
		sidecar.Spec.GetOutboundTrafficPolicy().GetMode() == networking.OutboundTrafficPolicy_REGISTRY_ONLY
}

func first(a, b *networkingv1.Sidecar) *networkingv1.Sidecar {
	if a == nil || before(b, a) {
		return b
	}
	return a
}

func (s search) sidecar(sidecar *networkingv1.Sidecar) []Conflict {
	listeners := sidecar.Spec.Egress
	if len(listeners) == 0 {
		return nil
	}
	bound := slices.IndexFunc(listeners, func(listener *networking.IstioEgressListener) bool {
		_, found := s.sinkhole(listener.GetBind())
		return found
	})
	if bound >= 0 {
		taken, _ := s.sinkhole(listeners[bound].GetBind())
		return []Conflict{s.conflict(KindSidecar, sidecar, fmt.Sprintf("spec.egress[%d].bind", bound), BreaksOurs,
			"listens on %s, the sinkhole address of %s, so calls of the target's Pods may go to its hosts in plain text; bind "+
				"it to an address outside %s", taken, s.target.Host, s.target.Sinkhole).closing()}
	}
	if hidden, found := s.hidden(sidecar); found {
		return []Conflict{hidden}
	}
	index := slices.IndexFunc(listeners, s.takesOurCalls)
	if index < 0 {
		return nil
	}
	port := listeners[index].GetPort()
	return []Conflict{s.conflict(KindSidecar, sidecar, fmt.Sprintf("spec.egress[%d].port", index), HiddenByOurs,
		"creates one listener on %s for all services on port %d, with the protocol %s, and imports the generated "+
			"ServiceEntries into it, so calls on that port to other services may go there and fail; remove bind, or list the "+
			"intended services in hosts",
		listeners[index].GetBind(), port.GetNumber(), port.GetProtocol())}
}

// takesOurCalls reports whether the egress listener serves all services on a port of ours, and so
// routes their calls to the ServiceEntry or the listener of the target. With HTTP, the Host header
// distinguishes the calls.
func (s search) takesOurCalls(listener *networking.IstioEgressListener) bool {
	port := listener.GetPort()
	if port == nil || listener.GetBind() == "" || IsHTTP(port.GetProtocol()) {
		return false
	}
	return port.GetNumber() == portNumber(s.target.Port) && s.admitsRoute(listener.GetHosts()) ||
		port.GetNumber() == portNumber(s.target.AppPort) && s.listens(listener.GetHosts())
}

// hidden finds the reason why Pods that the Sidecar applies to don't see the target's objects.
func (s search) hidden(sidecar *networkingv1.Sidecar) (Conflict, bool) {
	listeners := sidecar.Spec.Egress
	index, found := s.listener(listeners)
	if !found {
		return s.conflict(KindSidecar, sidecar, "spec.egress", HidesOurs,
			"has no egress listener for port %d, so calls of the target's Pods to %s time out; "+
				"add one without a port, with the host ./*",
			s.target.AppPort, s.target.Host), true
	}
	field := fmt.Sprintf("spec.egress[%d].hosts", index)
	switch hosts := listeners[index].GetHosts(); {
	case !s.admitsRoute(hosts):
		return s.conflict(KindSidecar, sidecar, field, HidesOurs,
			"does not import %s, so the Pods that it applies to don't see the generated objects, and their calls to the host "+
				"time out; add ./* and remove exclusions that match the host",
			s.target.Host), true
	case s.mesh.DynamicDNS && !s.admits(hosts, egress.AnchorHost):
		return s.conflict(KindSidecar, sidecar, field, HidesOurs,
			"does not import %s, and sidecars of this mesh resolve unknown hosts themselves, so http://%s./ leaves in plain "+
				"text; add ./* or ./%[1]s",
			egress.AnchorHost, s.target.Host), true
	case s.needsAnchor(hosts) && !s.listens(hosts):
		return s.conflict(KindSidecar, sidecar, field, HidesOurs,
			"does not import %s, so the sidecars that it applies to don't route calls on port %d, "+
				"and calls to %s time out; add ./* or ./%s",
			egress.AnchorHost, s.target.AppPort, s.target.Host, egress.AnchorHost), true
	case !s.importsServiceEntry(listeners):
		return s.conflict(KindSidecar, sidecar, "spec.egress", HidesOurs,
			"has no egress listener that imports %s on port %d, so calls of the target's Pods fail with 503; add one without "+
				"a port, with the host ./*",
			s.target.Host, s.target.Port), true
	}
	return Conflict{}, false
}

// IsHTTP reports whether Istio parses HTTP on a port of the protocol.
// https://github.com/istio/istio/blob/1.30.3/pkg/config/protocol/instance.go
func IsHTTP(protocol string) bool {
	return slices.Contains([]string{"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY"}, strings.ToUpper(protocol))
}

// admitsRoute reports whether egress hosts import our VirtualService. One of its hosts is enough.
func (s search) admitsRoute(hosts []string) bool {
	return slices.ContainsFunc(virtualServiceHosts(s.target), func(host string) bool { return s.admits(hosts, host) })
}

// importsServiceEntry reports whether any egress listener imports the ServiceEntry. Istio also
// imports the destinations of an imported VirtualService (collectImportedServices in
// pilot/pkg/model/sidecar.go), but a listener with a port only imports services with that port.
func (s search) importsServiceEntry(egress []*networking.IstioEgressListener) bool {
	return slices.ContainsFunc(egress, func(listener *networking.IstioEgressListener) bool {
		port := listener.GetPort()
		return (port == nil || port.GetNumber() == portNumber(s.target.Port)) && s.admitsRoute(listener.GetHosts())
	})
}

// listener returns the egress listener that serves the app port: the first with that port or
// without a port.
func (s search) listener(egress []*networking.IstioEgressListener) (index int, found bool) {
	for i, listener := range egress {
		if port := listener.GetPort(); port == nil || port.GetNumber() == portNumber(s.target.AppPort) {
			return i, true
		}
	}
	return 0, false
}

// listens reports whether egress hosts import the anchor, or the listener if there is one.
func (s search) listens(hosts []string) bool {
	return s.admits(hosts, egress.AnchorHost) ||
		!s.target.AddressShared && s.admits(hosts, egress.ListenerHost(s.target.Host, s.target.AppPort))
}

// needsAnchor reports whether the sidecar routes calls on the app port only because of the anchor
// or the listener. On ports other than 80, Istio requires a service with that port among the hosts
// of the VirtualService. On port 80, any HTTP service with that port is enough. Which services the
// other egress hosts import is unknown here, so they are assumed to import one.
func (s search) needsAnchor(hosts []string) bool {
	return s.target.AppPort != egress.DefaultAppPort || !slices.ContainsFunc(hosts, func(entry string) bool {
		_, pattern, _ := strings.Cut(entry, "/")
		return !strings.HasPrefix(entry, "~") && !strings.EqualFold(pattern, s.target.Host)
	})
}

// admits reports whether egress hosts, in the form namespace/pattern, import a service host of the
// target's namespace. A dot is the namespace of the Pods, even in the root namespace's Sidecar.
// Entries that start with ~ exclude, and take precedence.
func (s search) admits(hosts []string, host string) bool {
	admitted := false
	for _, entry := range hosts {
		namespace, pattern, _ := strings.Cut(entry, "/")
		namespace, excludes := strings.CutPrefix(namespace, "~")
		if !s.meansNamespace(namespace, excludes) || !covers(pattern, host) {
			continue
		}
		if excludes {
			return false
		}
		admitted = true
	}
	return admitted
}

func (s search) meansNamespace(text string, excludes bool) bool {
	return text == "*" || text == "." || text == s.target.Namespace || text == "" && excludes
}
