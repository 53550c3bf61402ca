package egress_test

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/egress"
)

func TestCheckUnused(t *testing.T) {
	used := func(first, such string) string {
		return ", in the sinkhole range " + first + ", so calls that no sidecar intercepts could arrive there in plain " +
			"text; write a range that nothing uses as the first one of the chart's value sinkholeRanges, such as " + such
	}
	family := func(podIP, first, such string) string {
		return "this Pod has the address " + podIP + " and none of the family of the sinkhole range " + first +
			", so calls of such Pods to targets would fail; write a range of their family as the first one of the " +
			"chart's value sinkholeRanges, such as " + such
	}
	for name, test := range map[string]struct {
		ranges   []string
		podIPs   []string
		networks map[string]string
		want     string
	}{
		"nothing is known": {},
		"private addresses": {
			podIPs:   []string{"10.1.2.3", "fd00::3"},
			networks: map[string]string{"the node a": "10.0.0.1/32", "the ServiceCIDR b": "10.96.0.0/12"},
		},
		"Pods in class E": {
			podIPs: []string{"240.1.2.3"},
			want:   "this Pod has the address 240.1.2.3" + used("240.0.0.0/4", "198.18.0.0/15"),
		},
		"Pods in class E, and another range": {ranges: []string{"198.18.0.0/15"}, podIPs: []string{"240.1.2.3"}},
		"Pods in the former range": {
			ranges: []string{"198.18.0.0/15", "240.0.0.0/4"}, podIPs: []string{"240.1.2.3"},
		},
		"a node in the other usual range": {
			ranges: []string{"198.18.0.0/15"}, networks: map[string]string{"the node a": "198.18.0.7/32"},
			want: "the node a has the address 198.18.0.7" + used("198.18.0.0/15", "240.0.0.0/4"),
		},
		"a node and Services around the range": {
			networks: map[string]string{"the node a": "241.0.0.7/32", "the ServiceCIDR b": "128.0.0.0/1"},
			want: "the ServiceCIDR b has the addresses 128.0.0.0/1" + used("240.0.0.0/4", "198.18.0.0/15") + "\n" +
				"the node a has the address 241.0.0.7" + used("240.0.0.0/4", "198.18.0.0/15"),
		},
		"Pods with IPv6 addresses only": {
			podIPs: []string{"fd00::3"}, want: family("fd00::3", "240.0.0.0/4", "100::/64"),
		},
		"Pods with IPv6 addresses only, and such a range": {ranges: []string{"100::/64"}, podIPs: []string{"fd00::3"}},
		"Pods with IPv6 addresses only, in that range": {
			ranges: []string{"100::/64"}, podIPs: []string{"100::3"},
			want: "this Pod has the address 100::3" + used("100::/64", "fd00:6d74:6c73::/64"),
		},
		"Pods with IPv4 addresses only, and a range of IPv6": {
			ranges: []string{"100::/64"}, podIPs: []string{"10.1.2.3"}, want: family("10.1.2.3", "100::/64", "240.0.0.0/4"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			sinkhole, err := egress.ParseSinkhole(test.ranges)
			if err != nil {
				t.Fatal(err)
			}
			var podIPs []netip.Addr
			for _, text := range test.podIPs {
				podIPs = append(podIPs, netip.MustParseAddr(text))
			}
			var networks []egress.Network
			for _, name := range slices.Sorted(maps.Keys(test.networks)) {
				networks = append(networks, egress.Network{Name: name, Prefix: netip.MustParsePrefix(test.networks[name])})
			}
			got := ""
			if err := sinkhole.CheckUnused(podIPs, networks); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
