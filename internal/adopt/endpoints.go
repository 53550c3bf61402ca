package adopt

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"mtls.egress/webhook/api/v1alpha1"
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
	port := s.targetPort()
	if s.leavesHost() && port != s.calls.appPort {
		return port
	}
	for _, endpoint := range s.entries[0].Value.Spec.GetEndpoints() {
		if number := s.portOf(endpoint); number != 0 {
			return number
		}
	}
	return port
}

// targetPort returns the port of endpoints that have none of their own.
func (s *set) targetPort() uint32 {
	if port := s.entries[0].Value.Spec.Ports[s.portIndex(s.calls.port)].GetTargetPort(); port != 0 {
		return port
	}
	return s.calls.port
}

// portOf returns the endpoint's own port, or 0.
func (s *set) portOf(endpoint *networking.WorkloadEntry) uint32 {
	return endpoint.GetPorts()[s.entries[0].Value.Spec.Ports[s.portIndex(s.calls.port)].GetName()]
}

// leavesHost reports whether the ServiceEntry leads calls elsewhere than to the host.
func (s *set) leavesHost() bool {
	return slices.ContainsFunc(s.entries[0].Value.Spec.GetEndpoints(), func(endpoint *networking.WorkloadEntry) bool {
		return mesh.NormalHost(endpoint.GetAddress()) != s.host
	})
}

// takeEndpoints carries the endpoints over if one of them isn't the host.
func (s *set) takeEndpoints() {
	if !s.leavesHost() {
		return
	}
	entry, spec := s.entries[0], &s.proposal.EgressTarget.Spec
	all := entry.Value.Spec.GetEndpoints()
	if len(all) > maxEndpoints {
		s.refuse(fmt.Sprintf("the %s (spec.endpoints) has %d endpoints, and a target has at most %d; keep as many",
			reference(entry.Object), len(all), maxEndpoints))
		return
	}
	for n, endpoint := range all {
		at := fmt.Sprintf("spec.endpoints[%d]", n)
		address, wrong := endpointAddress(endpoint.GetAddress())
		if wrong != "" {
			s.refuse(fmt.Sprintf("the %s (%s.address) leads calls to %s, and a target can't: it %s",
				reference(entry.Object), at, endpoint.GetAddress(), wrong))
			continue
		}
		taken := v1alpha1.Endpoint{Address: address}
		if port := cmp.Or(s.portOf(endpoint), s.targetPort()); port != s.partnerPort() {
			taken.Port = int32(port) //nolint:gosec // 1 to 65535
		}
		spec.Endpoints = append(spec.Endpoints, taken)
		for _, lost := range []setting{
			{"weight", endpoint.GetWeight() != all[0].GetWeight(), "calls are spread evenly over the endpoints", true},
			{"locality", endpoint.GetLocality() != "", "calls are spread over the endpoints of all localities", true},
			{"network", endpoint.GetNetwork() != "", "calls go to the address itself, not to a gateway of the network", true},
			{"labels", len(endpoint.GetLabels()) > 0, "no subset of the endpoints is selected", true},
		} {
			if lost.set {
				s.lose(entry.Object, at+"."+lost.field, lost.effect, lost.matters)
			}
		}
		if strings.Contains(address, ".svc.") {
			s.proposal.Notes = append(s.proposal.Notes, fmt.Sprintf("The endpoint %s is in the cluster. A cluster "+
				"administrator must add it to policy.allowedEndpoints in the chart's values first, or the target is closed.",
				address))
		}
	}
}

// maxEndpoints is the maximum number of endpoints of an EgressTarget.
const maxEndpoints = 8

// endpointAddress returns the address as an EgressTarget has it, or what is wrong with it.
func endpointAddress(address string) (normal, wrong string) {
	if ip, err := netip.ParseAddr(address); err == nil {
		return ip.String(), egress.Endpoint{Address: address}.Problem(egress.Sinkhole{})
	}
	host, err := egress.NormalizeHost(address)
	switch {
	case err != nil:
		return "", err.Error()
	case strings.HasSuffix(host, ".svc"):
		return "", "has no domain, and search domains don't apply; write the full name, as in " + host + ".cluster.local"
	}
	return host, ""
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
	s.takeEndpoints()
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
