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

// CheckUnused returns an error for each network that overlaps the range of new Pods: a call that no
// sidecar intercepts could arrive there. It also returns one if the Pods of the cluster can't have
// addresses of the family of that range. podIPs are the addresses of this Pod, if it is known. The
// other ranges don't count, because they may be left out only when no Pod has an address there.
func (s Sinkhole) CheckUnused(podIPs []netip.Addr, networks []Network) error {
	current := s.ofNewPods()
	for _, address := range podIPs {
		networks = append(networks, Network{"this Pod", netip.PrefixFrom(address, address.BitLen())})
	}
	var errs []error
	for _, used := range networks {
		if used.Prefix.Overlaps(current) {
			errs = append(errs, fmt.Errorf("%s has %s, in the sinkhole range %s, so calls that no sidecar "+
				"intercepts could arrive there in plain text; write a range that nothing uses as the first one of the "+
				"chart's value sinkholeRanges, such as %s", used.Name, printed(used.Prefix), current, another(current)))
		}
	}
	sameFamily := func(address netip.Addr) bool { return address.Is4() == current.Addr().Is4() }
	if len(podIPs) > 0 && !slices.ContainsFunc(podIPs, sameFamily) {
		family := "100::/64"
		if current.Addr().Is6() {
			family = DefaultSinkholeRange
		}
		errs = append(errs, fmt.Errorf("this Pod has the address %s and none of the family of the sinkhole range %s, so "+
			"calls of such Pods to targets would fail; write a range of their family as the first one of the chart's value "+
			"sinkholeRanges, such as %s", podIPs[0], current, family))
	}
	return errors.Join(errs...)
}

// another returns a range that is not routed, of the family of current and apart from it.
func another(current netip.Prefix) string {
	all := []string{"198.18.0.0/15", DefaultSinkholeRange}
	if current.Addr().Is6() {
		all = []string{"100::/64", "fd00:6d74:6c73::/64"}
	}
	if netip.MustParsePrefix(all[0]).Overlaps(current) {
		return all[1]
	}
	return all[0]
}

// printed returns a single address without its prefix length.
func printed(prefix netip.Prefix) string {
	if prefix.IsSingleIP() {
		return "the address " + prefix.Addr().String()
	}
	return "the addresses " + prefix.String()
}
