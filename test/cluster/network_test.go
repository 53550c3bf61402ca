package cluster

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAddressesOfANetworkAreOfItsFamily(t *testing.T) {
	for family, ipv6 := range map[string]bool{"": false, familyIPv4: false, familyIPv6: true} {
		t.Setenv(familyVariable, family)
		n, err := newNetwork()
		if err != nil || n.ipv6 != ipv6 {
			t.Fatalf("%q: IPv6: %t, error %v", family, n.ipv6, err)
		}
		pods, services := netip.MustParsePrefix(n.pods), netip.MustParsePrefix(n.services)
		for _, text := range []string{n.node, n.api, n.dns, n.partner, n.gateway, n.nobody} {
			if address := netip.MustParseAddr(text); address.Is6() != ipv6 || pods.Contains(address) {
				t.Errorf("%q: %s", family, text)
			}
		}
		for _, text := range []string{n.api, n.dns, n.partner, n.gateway} {
			if !services.Contains(netip.MustParseAddr(text)) {
				t.Errorf("%q: %s is not in %s", family, text, services)
			}
		}
		if !netip.MustParsePrefix(n.wan).Contains(netip.MustParseAddr(n.nobody)) {
			t.Errorf("%q: %s is not on the wire %s", family, n.nobody, n.wan)
		}
	}
}

func TestAnUnknownFamilyIsRefused(t *testing.T) {
	t.Setenv(familyVariable, "ipv5")
	if _, err := newNetwork(); err == nil || !strings.Contains(err.Error(), "MTLS_EGRESS_NODE_FAMILY") {
		t.Errorf("error %v", err)
	}
}
