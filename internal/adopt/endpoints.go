package adopt

import (
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// portIndex returns the index of the port in the ServiceEntry, or -1.
func (s *set) portIndex(number uint32) int {
	return slices.IndexFunc(s.entries[0].Value.Spec.Ports,
		func(port *networking.ServicePort) bool { return port.GetNumber() == number })
}

// partnerProtocol returns the protocol of the port to which the calls go.
func (s *set) partnerProtocol() string {
	return s.entries[0].Value.Spec.Ports[s.portIndex(s.calls.port)].GetProtocol()
}

// partnerPort returns the port of the partner to which the calls go.
func (s *set) partnerPort() uint32 {
	entry := &s.entries[0].Value.Spec
	for _, port := range entry.GetPorts() {
		if port.GetNumber() != s.calls.port {
			continue
		}
		for _, endpoint := range entry.GetEndpoints() {
			if number := endpoint.GetPorts()[port.GetName()]; number != 0 {
				return number
			}
		}
		if port.GetTargetPort() != 0 {
			return port.GetTargetPort()
		}
	}
	return s.calls.port
}

// readEndpoints reads the ServiceEntry: the ports, and where the calls go.
func (s *set) readEndpoints() {
	entry, spec := s.entries[0], &s.proposal.EgressTarget.Spec
	if port := s.partnerPort(); port != egress.DefaultPort {
		spec.Port = int32(port) //nolint:gosec // 1 to 65535
	}
	if s.calls.appPort != egress.DefaultAppPort {
		spec.AppPort = int32(s.calls.appPort) //nolint:gosec // 1 to 65535
	}
	if entry.Value.Spec.GetWorkloadSelector() != nil {
		s.refuse(fmt.Sprintf("the %s (spec.workloadSelector) leads calls to Pods or WorkloadEntries of the mesh, and a "+
			"target is outside", reference(entry.Object)))
	}
	for n, endpoint := range entry.Value.Spec.GetEndpoints() {
		if address := endpoint.GetAddress(); mesh.NormalHost(address) != s.host {
			s.refuse(fmt.Sprintf("the %s (spec.endpoints[%d].address) leads calls to %s, and a target goes where DNS "+
				"leads %s; if that is another place, keep the hand-written objects", reference(entry.Object), n, address, s.host))
		}
	}
	switch entry.Value.Spec.GetResolution() {
	case networking.ServiceEntry_NONE:
		s.change("The sidecar asks DNS for the partner's address. Today it calls the address that the app looked up.")
	case networking.ServiceEntry_DNS, networking.ServiceEntry_DNS_ROUND_ROBIN, networking.ServiceEntry_STATIC:
	default:
		s.lose(entry.Object, "spec.resolution", "a target is resolved with DNS", true)
	}
	if entry.Value.Spec.GetLocation() == networking.ServiceEntry_MESH_INTERNAL {
		s.refuse(fmt.Sprintf("the %s (spec.location) makes %s a service of the mesh, and a target is outside; set "+
			"MESH_EXTERNAL if that is true", reference(entry.Object), s.host))
	}
}
