package mesh

import (
	"fmt"
	"net/netip"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/internal/target"
)

// serviceEntries finds the ServiceEntries for the host, and those for other hosts that take the sinkhole address.
//
// Of several for one host in the caller's namespace Istio takes the private ones before the public ones, then the oldest, and
// adds the ports of the others only if labels, exportTo and resolution are equal. Those of other namespaces count where the
// caller's has none. Endpoints are kept by namespace, host and port number, so those of all ServiceEntries of a namespace
// serve each of them, whatever their exportTo (pilot/pkg/model/endpointshards.go). A wildcard is another service: the exact
// host wins over it, and as ours listens on the sinkhole address alone, Pods that asked for nothing still reach it.
func (s search) serviceEntries(all []*networkingv1.ServiceEntry) []Conflict {
	theirs, ours := foreign(s, all)
	var conflicts []Conflict
	for _, entry := range theirs {
		if conflict, found := s.serviceEntry(entry, ours); found {
			conflicts = append(conflicts, conflict)
		}
	}
	return conflicts
}

func (s search) serviceEntry(entry, ours *networkingv1.ServiceEntry) (Conflict, bool) {
	if s.takesOurName(entry) {
		return s.nameTaken(KindServiceEntry, entry), true
	}
	if entry.Namespace == s.target.Namespace && entry.Name == target.AnchorName && !Owned(entry) {
		return s.conflict(KindServiceEntry, entry, "metadata.name", BreaksOurs,
			"has the name that the anchor of the namespace needs, and no EgressTarget owns it, so it is left as it is, sidecars may not listen on port %d, and calls to %s fail; rename or delete it",
			s.target.AppPort, s.target.Host), true
	}
	index, exact, _ := s.matchHost(entry.Spec.Hosts)
	if !exact {
		return s.sinkholeTaken(entry)
	}
	field := fmt.Sprintf("spec.hosts[%d]", index)
	reach := reachOf(entry.Spec.ExportTo, entry.Namespace, s.target.Namespace)
	if entry.Namespace == s.target.Namespace && s.mixesEndpoints(entry) {
		return s.conflict(KindServiceEntry, entry, field, BreaksOurs,
			"opens port %d of %s too, and Istio sends calls to the endpoints of both, so some calls of the target's Pods go to its endpoints, which inside these Pods may be the sinkhole address; delete it, or move the Pods that need it to another namespace",
			s.target.Port, s.target.Host), true
	}
	switch first := ours == nil || before(entry, ours); {
	case reach == unseen:
		return Conflict{}, false
	case entry.Namespace != s.target.Namespace:
		return s.conflict(KindServiceEntry, entry, field, HiddenByOurs,
			"is for %s and exported to %s, but Istio asks the caller's own namespace first and finds ours there, so its ports and endpoints no longer count for any Pod of the namespace; stop exporting it to this one, or move the Pods that need it to another namespace",
			s.target.Host, or(s.target.Namespace, "the namespace")), true
	case reach == private && first:
		return s.conflict(KindServiceEntry, entry, field, HidesOurs,
			"is for %s too, private to the namespace as ours is, and older, so Istio takes its ports and resolution and not ours, and calls of the target's Pods fail; delete it, or move the Pods that need it to another namespace",
			s.target.Host), true
	default:
		return s.conflict(KindServiceEntry, entry, field, HiddenByOurs,
			"is for %s too, and Istio takes ours before it and doesn't merge the two, so calls of any Pod of the namespace to its ports no longer find it and may fail with 503; delete it, or move the Pods that need it to another namespace",
			s.target.Host), true
	}
}

// mixesEndpoints says whether the entry adds endpoints to those of the partner's port. With resolution NONE it has none.
func (s search) mixesEndpoints(entry *networkingv1.ServiceEntry) bool {
	return entry.Spec.Resolution != networking.ServiceEntry_NONE && opens(entry, s.target.Port)
}

func opens(entry *networkingv1.ServiceEntry, port int32) bool {
	return slices.ContainsFunc(entry.Spec.Ports, func(open *networking.ServicePort) bool {
		return open.GetNumber() == portNumber(port)
	})
}

// sinkholeTaken is for ServiceEntries of other hosts with the sinkhole address on a port that calls use. Istio would make a
// listener for that address, and what the calls meet there is theirs.
func (s search) sinkholeTaken(entry *networkingv1.ServiceEntry) (Conflict, bool) {
	index := slices.IndexFunc(entry.Spec.Addresses, func(text string) bool { return holds(text, s.target.Address()) })
	visible := reachOf(entry.Spec.ExportTo, entry.Namespace, s.target.Namespace) != unseen
	if index < 0 || !visible || !opens(entry, s.target.AppPort) && !opens(entry, s.target.Port) {
		return Conflict{}, false
	}
	return s.conflict(KindServiceEntry, entry, fmt.Sprintf("spec.addresses[%d]", index), BreaksOurs,
		"holds %s, the sinkhole address of %s, so calls of the target's Pods may be taken for calls to its own host and leave in plain text; give it addresses outside 240.0.0.0/4",
		s.target.Address(), s.target.Host), true
}

// holds says whether text is address or a prefix that contains it.
func holds(text string, address netip.Addr) bool {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return prefix.Contains(address)
	}
	parsed, err := netip.ParseAddr(text)
	return err == nil && parsed == address
}

// knownFrom returns the namespaces from which the host has been known to the target's namespace without us.
func (s search) knownFrom(all []*networkingv1.ServiceEntry) []string {
	theirs, _ := foreign(s, all)
	var namespaces []string
	for _, entry := range theirs {
		_, exact, _ := s.matchHost(entry.Spec.Hosts)
		if exact && reachOf(entry.Spec.ExportTo, entry.Namespace, s.target.Namespace) != unseen {
			namespaces = append(namespaces, entry.Namespace)
		}
	}
	return namespaces
}
