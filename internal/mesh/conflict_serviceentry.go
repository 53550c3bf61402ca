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

// serviceEntries finds the ServiceEntries for the generated hosts, and those of other hosts with
// the sinkhole address. Istio stores endpoints by namespace, host and port number. All
// ServiceEntries of a namespace for one host therefore share their endpoints, regardless of
// exportTo (pilot/pkg/model/endpointshards.go).
func (s search) serviceEntries(all []*networkingv1.ServiceEntry) []Conflict {
	theirs, _ := foreign(s, all)
	var conflicts []Conflict
	for _, entry := range theirs {
		if conflict, found := s.serviceEntry(entry); found {
			conflicts = append(conflicts, conflict)
		}
	}
	return conflicts
}

func (s search) serviceEntry(entry *networkingv1.ServiceEntry) (Conflict, bool) {
	if conflict, found := s.nameOfOurs(entry); found {
		if taken, found := s.sinkholeTaken(entry); found {
			return taken, true
		}
		return conflict, true
	}
	if s.hasListenerName(entry) || s.hasAnchorName(entry) {
		return Conflict{}, false
	}
	if entry.Namespace == s.target.Namespace {
		if index := slices.IndexFunc(entry.Spec.GetHosts(), s.isOurs); index >= 0 {
			return s.reserved(KindServiceEntry, entry, fmt.Sprintf("spec.hosts[%d]", index), entry.Spec.GetHosts()[index]), true
		}
	}
	if reachOf(entry.Spec.GetExportTo(), s.mesh.ServiceExportTo, entry.Namespace, s.target.Namespace) == unseen {
		return Conflict{}, false
	}
	internal := entry.Spec.GetLocation() == networking.ServiceEntry_MESH_INTERNAL
	if index, exact, _ := s.matchHost(entry.Spec.GetHosts()); exact && internal {
		return s.conflict(KindServiceEntry, entry, fmt.Sprintf("spec.hosts[%d]", index), BreaksOurs,
			"makes %s a service of the mesh (location: MESH_INTERNAL), which Pods call over the mesh's own mutual TLS, so the "+
				"target is closed; call it without a target, or set location: MESH_EXTERNAL",
			s.target.Host).closing(), true
	}
	if conflict, found := s.sinkholeTaken(entry); found {
		return conflict, true
	}
	if conflict, found := s.serverFirst(entry); found {
		return conflict, true
	}
	return s.wildcard(entry)
}

// serverFirst finds ServiceEntries without an address that give the app port a server-first
// protocol. Istio then creates a listener for all addresses that isn't for HTTP, unless an older
// service has the port for HTTP. The target's own listener is for one address and takes precedence.
func (s search) serverFirst(entry *networkingv1.ServiceEntry) (Conflict, bool) {
	if len(entry.Spec.GetAddresses()) > 0 {
		return Conflict{}, false
	}
	index := slices.IndexFunc(entry.Spec.GetPorts(), func(port *networking.ServicePort) bool {
		return port.GetNumber() == portNumber(s.target.AppPort) && ServerFirst(port.GetProtocol())
	})
	if index < 0 {
		return Conflict{}, false
	}
	conflict := s.conflict(KindServiceEntry, entry, fmt.Sprintf("spec.ports[%d]", index), BreaksOurs,
		"gives port %d the protocol %s for all addresses, so calls of the target's Pods to addresses of %s "+
			"other than the sinkhole (for example http://%[3]s./) bypass the target; set spec.addresses in it, or "+
			"change spec.appPort of the EgressTarget",
		s.target.AppPort, entry.Spec.GetPorts()[index].GetProtocol(), s.target.Host)
	if s.target.AddressShared { // The target has no listener.
		conflict = conflict.closing()
	}
	return conflict, true
}

// ServerFirst reports whether Istio treats protocol as server-first, and so does not parse HTTP on
// its ports.
// https://istio.io/latest/docs/ops/deployment/application-requirements/#server-first-protocols
func ServerFirst(protocol string) bool {
	return slices.Contains([]string{"MYSQL", "MONGO"}, strings.ToUpper(protocol))
}

// wildcard finds ServiceEntries with a wildcard that matches the host, and with TLS on the
// partner's port. Istio applies our TLS route to them. If a TLS route matches a Pod, Istio omits
// the default route for the wildcard. That Pod's https calls to other hosts are then calls to
// unknown hosts. See buildSidecarOutboundTLSFilterChainOpts:
// https://github.com/istio/istio/blob/1.30.3/pilot/pkg/networking/core/tls.go
func (s search) wildcard(entry *networkingv1.ServiceEntry) (Conflict, bool) {
	index, exact, found := s.matchHost(entry.Spec.GetHosts())
	opensTLS := slices.ContainsFunc(entry.Spec.GetPorts(), func(port *networking.ServicePort) bool {
		return port.GetNumber() == portNumber(s.target.Port) &&
			slices.Contains([]string{"TLS", "HTTPS"}, strings.ToUpper(port.GetProtocol()))
	})
	if !s.registryOnly || !found || exact || !opensTLS {
		return Conflict{}, false
	}
	return s.conflict(KindServiceEntry, entry, fmt.Sprintf("spec.hosts[%d]", index), HiddenByOurs,
		"opens %s for https, but Istio no longer applies it to the target's Pods, so their https calls to other hosts that "+
			"it matches fail, because sidecars reject unknown hosts (REGISTRY_ONLY); add a ServiceEntry that names those hosts",
		entry.Spec.GetHosts()[index]), true
}

func opens(entry *networkingv1.ServiceEntry, port int32) bool {
	return slices.ContainsFunc(entry.Spec.Ports, func(open *networking.ServicePort) bool {
		return open.GetNumber() == portNumber(port)
	})
}

// nameOfOurs finds ServiceEntries of other owners that have the name of a generated one.
func (s search) nameOfOurs(entry *networkingv1.ServiceEntry) (Conflict, bool) {
	switch {
	case s.hasOurName(entry):
		return s.nameTaken(KindServiceEntry, entry), true
	case s.hasListenerName(entry) && !OwnedFor(entry, s.target.Host):
		return s.conflict(KindServiceEntry, entry, "metadata.name", BreaksOurs,
			"has the name of the target's listener but does not belong to the EgressTarget, so the controller leaves it "+
				"alone, and other listeners on port %d handle calls to %s; rename or delete it",
			s.target.AppPort, s.target.Host), true
	case s.hasAnchorName(entry) && !Owned(entry):
		return s.conflict(KindServiceEntry, entry, "metadata.name", BreaksOurs,
			"has the name of the namespace's anchor but does not belong to an EgressTarget, so the controller leaves it "+
				"alone, sidecars may not parse HTTP on port %d, and calls to %s outside its sinkhole address may bypass the "+
				"target; rename or delete it",
			s.target.AppPort, s.target.Host), true
	}
	return Conflict{}, false
}

// sinkholeTaken finds ServiceEntries of other hosts with the sinkhole address on a port that calls
// use. Istio creates a listener for that address, which routes calls to the endpoints of that
// ServiceEntry.
func (s search) sinkholeTaken(entry *networkingv1.ServiceEntry) (Conflict, bool) {
	index, taken, found := s.firstHeld(entry.Spec.GetAddresses())
	if !found {
		return Conflict{}, false
	}
	catches := opens(entry, s.target.AppPort) && !s.siblingListener(entry) ||
		opens(entry, s.target.Port) && !s.generated(entry)
	if !catches {
		return Conflict{}, false
	}
	return s.conflict(KindServiceEntry, entry, fmt.Sprintf("spec.addresses[%d]", index), BreaksOurs,
		"contains %s, the sinkhole address of %s, so calls of the target's Pods may go to its endpoints in plain text; use "+
			"addresses outside %s",
		taken, s.target.Host, s.target.Sinkhole).closing(), true
}

// generated reports whether the entry belongs to another target of the namespace. Two hosts may
// share a sinkhole address. On the partner's port, the server name distinguishes their calls.
func (s search) generated(entry *networkingv1.ServiceEntry) bool {
	return entry.Namespace == s.target.Namespace && Owned(entry) && len(entry.Spec.GetHosts()) == 1 &&
		egress.IsMeshHost(entry.Spec.GetHosts()[0])
}

// siblingListener reports whether the entry is the listener of another target of the namespace, as
// Listener returns it. The controller deletes it once both targets know that they share an address.
func (s search) siblingListener(entry *networkingv1.ServiceEntry) bool {
	host, generated := egress.ObjectHost(entry.Name)
	return generated && entry.Namespace == s.target.Namespace &&
		OwnedFor(entry, host) && entry.Name == egress.ListenerName(host) &&
		slices.Equal(entry.Spec.GetHosts(), []string{egress.ListenerHost(host, s.target.AppPort)}) &&
		entry.Spec.GetResolution() == networking.ServiceEntry_STATIC && len(entry.Spec.GetEndpoints()) == 1 &&
		entry.Spec.GetEndpoints()[0].GetAddress() == anchorEndpoint
}

// firstHeld returns the index of the first text that is a sinkhole address of the target or a
// prefix that contains one, and that address.
func (s search) firstHeld(texts []string) (index int, held netip.Addr, found bool) {
	for index, text := range texts {
		for _, address := range s.target.AllAddresses() {
			if holds(text, address) {
				return index, address, true
			}
		}
	}
	return 0, netip.Addr{}, false
}

// holds reports whether text is address or a prefix that contains it.
func holds(text string, address netip.Addr) bool {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return prefix.Contains(address)
	}
	parsed, err := netip.ParseAddr(text)
	return err == nil && parsed.Unmap() == address
}
