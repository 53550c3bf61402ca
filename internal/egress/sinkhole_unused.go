package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Network is a range of addresses that are in use.
type Network struct {
	// Name says what uses it, such as "the node a".
	Name   string
	Prefix netip.Prefix
}

// CheckUnused returns an error for each network that overlaps a range of s: a call that no sidecar
// intercepts could arrive there. It also returns one if the Pods of the cluster can't have
// addresses of the family of the first range. podIPs are the addresses of this Pod, if it is
// known.
func (s Sinkhole) CheckUnused(podIPs []netip.Addr, networks []Network) error {
	for _, address := range podIPs {
		networks = append(networks, Network{"this Pod", netip.PrefixFrom(address, address.BitLen())})
	}
	var errs []error
	for _, used := range networks {
		if s.Overlaps(used.Prefix) {
			errs = append(errs, fmt.Errorf("%s has %s, which is in the sinkhole range %s, so calls that no sidecar intercepts "+
				"could arrive there in plain text; set the chart's value sinkholeRanges to a range that nothing uses, such as "+
				"198.18.0.0/15", used.Name, printed(used.Prefix), s))
		}
	}
	current := s.Ranges()[0].Addr()
	sameFamily := func(address netip.Addr) bool { return address.Is4() == current.Is4() }
	if len(podIPs) > 0 && !slices.ContainsFunc(podIPs, sameFamily) {
		other := "100::/64"
		if current.Is6() {
			other = DefaultSinkholeRange
		}
		errs = append(errs, fmt.Errorf("Pods of this cluster, such as this one with %s, have no addresses of the "+
			"family of the sinkhole range %s, so calls to targets would fail; set the chart's value sinkholeRanges to a "+
			"range of the other family, such as %s", podIPs[0], s.Ranges()[0], other))
	}
	return errors.Join(errs...)
}

// printed returns a single address without its prefix length.
func printed(prefix netip.Prefix) string {
	if prefix.IsSingleIP() {
		return "the address " + prefix.Addr().String()
	}
	return "the addresses " + prefix.String()
}
