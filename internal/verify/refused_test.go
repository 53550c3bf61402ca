package verify

import (
	"net/netip"
	"testing"

	"mtls.egress/webhook/internal/egress"
)

// TestAddressesThatNoPartnerHas tests every refused address in each of its forms, and adjacent
// addresses that are allowed.
func TestAddressesThatNoPartnerHas(t *testing.T) {
	const (
		loopback, linkLocal, multicast = "a loopback address", "a link-local address", "a multicast address"
		unspecified, reserved          = "an unspecified address", "a sinkhole address (240.0.0.0/4)"
		metadata                       = "an address of a cloud's metadata service"
		protocol                       = "a reserved address (192.0.0.0/24)"
		own                            = "an address of the controller's own Pod"
		server                         = "the address of the cluster's API server"
	)
	inside := func(carrier, kind string) string { return "an address that embeds " + carrier + ", " + kind }
	for address, want := range map[string]string{
		// Plain addresses.
		"127.0.0.1": loopback, "127.255.255.254": loopback, "::1": loopback,
		"169.254.0.1": linkLocal, "169.254.169.254": linkLocal, "169.254.170.2": linkLocal, "169.254.20.10": linkLocal,
		"fe80::1": linkLocal, "fe80::a9fe:a9fe": linkLocal, "febf::1": linkLocal,
		"fe80::1%eth0": linkLocal, "fec0::1": "a site-local address, which is deprecated",
		"224.0.0.1": multicast, "239.255.255.250": multicast, "ff02::1": multicast, "ff0e::1": multicast,
		"0.0.0.0": unspecified, "0.1.2.3": unspecified, "::": unspecified,
		"240.0.0.1": reserved, "241.0.0.1": reserved, "255.255.255.255": reserved,
		"192.0.0.192": protocol, "192.0.0.170": protocol, "192.0.0.8": protocol,
		// Metadata services of clouds.
		"100.100.100.200": metadata, "168.63.129.16": metadata,
		"fd00:ec2::254": metadata, "fd00:ec2::23": metadata, "fd00:ec2::253": metadata, "fd20:ce::254": metadata,
		"fd00:c1::a9fe:a9fe": metadata, "fd00:42::42": metadata,
		// The same in IPv6.
		"::ffff:127.0.0.1": loopback, "::ffff:169.254.169.254": linkLocal, "::ffff:168.63.129.16": metadata,
		"::ffff:241.0.0.1": reserved,
		"::127.0.0.1":      inside("127.0.0.1", loopback), "::169.254.169.254": inside("169.254.169.254", linkLocal),
		"::ffff:0:127.0.0.1": inside("127.0.0.1", loopback), "::ffff:0:169.254.169.254": inside("169.254.169.254", linkLocal),
		"64:ff9b::a9fe:a9fe": inside("169.254.169.254", linkLocal), "64:ff9b::127.0.0.1": inside("127.0.0.1", loopback),
		"64:ff9b::10.96.0.1":       inside("10.96.0.1", server),
		"64:ff9b::100.100.100.200": inside("100.100.100.200", metadata),
		"64:ff9b::168.63.129.16":   inside("168.63.129.16", metadata), "64:ff9b::241.0.0.1": inside("241.0.0.1", reserved),
		"64:ff9b:1::169.254.169.254":           inside("169.254.169.254", linkLocal),
		"64:ff9b:1:a9fe:a9:fe00::":             inside("169.254.169.254", linkLocal),
		"64:ff9b:1:10a9:fe:a9fe::":             inside("169.254.169.254", linkLocal),
		"64:ff9b:1:100:a9:fea9:fe00::":         inside("169.254.169.254", linkLocal),
		"2002:a9fe:a9fe::1":                    inside("169.254.169.254", linkLocal),
		"2002:7f00:1::":                        inside("127.0.0.1", loopback),
		"2001:0:4136:e378:8000:63bf:5601:5601": inside("169.254.169.254", linkLocal),
		"2001:0:a9fe:a9fe:8000:63bf:3fff:fdd2": inside("169.254.169.254", linkLocal),
		"2001:db8::5efe:169.254.169.254":       inside("169.254.169.254", linkLocal),
		"2001:db8::200:5efe:127.0.0.1":         inside("127.0.0.1", loopback),
		"2001:db8:64::169.254.169.254":         inside("169.254.169.254", "an address of a cloud's metadata service"),
		"2001:db8:64::168.63.129.16":           inside("168.63.129.16", metadata),
		// The cluster itself.
		"10.1.2.3": own, "::ffff:10.1.2.3": own, "fd12::3": own, "10.96.0.1": server,
		// Addresses that a partner may have.
		"192.0.2.1": "", "10.1.2.4": "", "172.16.0.1": "", "192.168.1.1": "", "100.64.0.1": "", "100.100.100.201": "",
		"168.63.129.17": "", "169.253.255.255": "", "169.255.0.0": "",
		"192.0.1.1": "", "128.0.0.1": "", "223.255.255.255": "", "2001:db8::1": "", "2606:4700::1111": "", "fd00::1": "",
		"fd00:ec3::254": "", "fd12::4": "",
		"64:ff9b::192.0.2.1": "", "64:ff9b::10.1.2.4": "", "64:ff9b:1::192.0.2.1": "", "2002:c000:201::1": "",
		"2001:0:4136:e378:8000:63bf:3fff:fdd2": "",
		"2001:db8::7f00:1":                     "", "2001:db8::5efe:192.0.2.1": "",
	} {
		t.Run(address, func(t *testing.T) {
			cluster := surroundings{
				own:       []netip.Addr{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("fd12::3")},
				apiServer: netip.MustParseAddr("10.96.0.1"),
			}
			if got := cluster.refusedKind(netip.MustParseAddr(address)); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// Where another range is the sinkhole, a partner can have an address in class E.
func TestTheSinkholeOfTheClusterCounts(t *testing.T) {
	sinkhole, err := egress.ParseSinkhole([]string{"198.18.0.0/15", "100::/64"})
	if err != nil {
		t.Fatal(err)
	}
	const refused, reserved = "a sinkhole address (198.18.0.0/15 and 100::/64)", "a reserved address (240.0.0.0/4)"
	for address, want := range map[string]string{
		"198.19.1.2": refused, "100::7": refused, "::ffff:198.18.0.1": refused,
		"241.0.0.1": "", "240.240.0.1": reserved, "255.255.255.255": reserved,
	} {
		if got := (surroundings{sinkhole: sinkhole}).refusedKind(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: got %q, want %q", address, got, want)
		}
	}
}
