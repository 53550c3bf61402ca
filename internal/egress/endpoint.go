package egress

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"mtls.egress/webhook/api/v1alpha1"
)

// Endpoint is a place to which sidecars connect in place of the host.
type Endpoint struct {
	// Address is a DNS name, without a trailing dot, or an IP address.
	Address string
	Port    int32
	// Priority is 0, or 1 for an endpoint that is only used while no endpoint with 0 can be reached.
	Priority int32
}

// String returns the address and the port as in a URL.
func (e Endpoint) String() string {
	return net.JoinHostPort(e.Address, strconv.Itoa(int(e.Port)))
}

// IP returns the address if it is an IP address.
func (e Endpoint) IP() (address netip.Addr, ok bool) {
	address, err := netip.ParseAddr(e.Address)
	return address, err == nil
}

// Problem returns why a partner can't be at the endpoint, as a clause about it, or "". The CRD
// refuses most of these addresses, but not all notations of them, and doesn't know the sinkhole.
func (e Endpoint) Problem(sinkhole Sinkhole) string {
	address, ok := e.IP()
	switch {
	case !ok && strings.Contains(e.Address, ":"):
		return "has an address that is neither a name nor an IP address; write a port into the field port"
	case !ok:
		return ""
	}
	const instead = "; write an address at which the partner, a relay or a gateway answers"
	switch address = address.Unmap(); {
	case sinkhole.Contains(address):
		return "is in the range of the sinkhole addresses, where calls are dropped" + instead
	case address.IsUnspecified(), address.IsLoopback(), address.IsLinkLocalUnicast(), address.IsMulticast():
		return "is an unspecified, loopback, link-local or multicast address" + instead
	}
	return ""
}

// EndpointsByPriority returns the endpoints in the order in which they are tried. Without any, it
// returns the host.
func (t Target) EndpointsByPriority() []Endpoint {
	if len(t.Endpoints) == 0 {
		return []Endpoint{{Address: t.Host, Port: t.Port}}
	}
	return slices.SortedStableFunc(slices.Values(t.Endpoints),
		func(a, b Endpoint) int { return cmp.Compare(a.Priority, b.Priority) })
}

// Ways returns the endpoints that are tried first, and the backup that is used while none of them
// can be reached.
func (t Target) Ways() (preferred, backup []Endpoint) {
	all := t.EndpointsByPriority()
	first := slices.IndexFunc(all, func(e Endpoint) bool { return e.Priority != all[0].Priority })
	if first < 0 {
		return all, nil
	}
	return all[:first], all[first:]
}

// endpointsOf returns the endpoints of an EgressTarget for the partner's port.
func endpointsOf(spec v1alpha1.EgressTargetSpec, port int32) []Endpoint {
	var endpoints []Endpoint
	for _, each := range spec.Endpoints {
		endpoints = append(endpoints,
			Endpoint{Address: each.Address, Port: cmp.Or(each.Port, port), Priority: each.Priority})
	}
	return endpoints
}
