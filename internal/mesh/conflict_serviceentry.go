package mesh

import (
	"fmt"
	"net/netip"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/internal/target"
)

// serviceEntries finds the ServiceEntries for the host of ours, and those of other hosts that take the sinkhole
// address. Istio keeps endpoints by namespace, host and port number, so those of all ServiceEntries of a namespace
// for one host serve each of them, whatever their exportTo (pilot/pkg/model/endpointshards.go).
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
	switch {
	case s.hasOurName(entry):
		return s.nameTaken(KindServiceEntry, entry), true
	case s.hasAnchorName(entry) && !Owned(entry):
		return s.conflict(KindServiceEntry, entry, "metadata.name", BreaksOurs,
			"has the name that the anchor of the namespace needs and does not belong to an EgressTarget, so it is left as it is, sidecars may not listen on port %d, and calls to %s fail; rename or delete it",
			s.target.AppPort, s.target.Host), true
	case s.hasAnchorName(entry):
		return Conflict{}, false
	}
	if index := slices.IndexFunc(entry.Spec.GetHosts(), s.isMeshHost); index >= 0 && entry.Namespace == s.target.Namespace {
		return s.reserved(KindServiceEntry, entry, fmt.Sprintf("spec.hosts[%d]", index), entry.Spec.GetHosts()[index]), true
	}
	if reachOf(entry.Spec.GetExportTo(), entry.Namespace, s.target.Namespace) == unseen {
		return Conflict{}, false
	}
	if index, exact, _ := s.matchHost(entry.Spec.GetHosts()); exact && entry.Spec.GetLocation() == networking.ServiceEntry_MESH_INTERNAL {
		return s.conflict(KindServiceEntry, entry, fmt.Sprintf("spec.hosts[%d]", index), BreaksOurs,
			"makes %s a service of the mesh (location: MESH_INTERNAL), which Pods call over the mesh's own mutual TLS, so the target is closed; call it without a target, or write location: MESH_EXTERNAL",
			s.target.Host).closing(), true
	}
	return s.sinkholeTaken(entry)
}

func opens(entry *networkingv1.ServiceEntry, port int32) bool {
	return slices.ContainsFunc(entry.Spec.Ports, func(open *networking.ServicePort) bool {
		return open.GetNumber() == portNumber(port)
	})
}

// sinkholeTaken is for ServiceEntries of other hosts with the sinkhole address on a port that calls use. Istio makes
// a listener for that address, which leads calls to the endpoints of that ServiceEntry.
func (s search) sinkholeTaken(entry *networkingv1.ServiceEntry) (Conflict, bool) {
	index := slices.IndexFunc(entry.Spec.GetAddresses(), func(text string) bool { return holds(text, s.target.Address()) })
	catches := opens(entry, s.target.AppPort) || opens(entry, s.target.Port) && !s.generated(entry)
	if index < 0 || !catches {
		return Conflict{}, false
	}
	return s.conflict(KindServiceEntry, entry, fmt.Sprintf("spec.addresses[%d]", index), BreaksOurs,
		"holds %s, the sinkhole address of %s, so calls of the target's Pods may go to its endpoints and leave in plain text; give it addresses outside 240.0.0.0/4",
		s.target.Address(), s.target.Host).closing(), true
}

// generated reports whether the entry is that of another target of the namespace. Two hosts may share a sinkhole address;
// on the partner's port calls are told apart by their server name.
func (s search) generated(entry *networkingv1.ServiceEntry) bool {
	return entry.Namespace == s.target.Namespace && Owned(entry) && len(entry.Spec.GetHosts()) == 1 &&
		target.IsMeshHost(entry.Spec.GetHosts()[0])
}

// holds reports whether text is address or a prefix that contains it.
func holds(text string, address netip.Addr) bool {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return prefix.Contains(address)
	}
	parsed, err := netip.ParseAddr(text)
	return err == nil && parsed.Unmap() == address
}
