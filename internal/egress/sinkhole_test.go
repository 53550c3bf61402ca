package egress_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

// The addresses are in the /etc/hosts of running Pods. A change here breaks all of them on upgrade.
func TestSinkholeAddressNeverChanges(t *testing.T) {
	want := map[string]string{
		"external.system.com":   "254.110.240.171",
		"partner.example":       "248.235.185.187",
		"api.partner.example":   "254.17.62.192",
		"xn--bcher-kva.example": "249.112.202.107",
		longHost(253):           "252.26.11.242",
		// The first candidates of these two hosts are in 240.240.0.0/16 and 255.0.0.0/8.
		"host-2369.example": "245.190.197.64",
		"host-24.example":   "248.78.181.141",
	}
	got := map[string]string{}
	for host := range want {
		got[host] = egress.Sinkhole{}.Address(host).String()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

func TestSinkholeAddressStaysInsideItsRange(t *testing.T) {
	istio, istio6 := netip.MustParsePrefix("240.240.0.0/16"), netip.MustParsePrefix("2001:2::/48")
	broadcast := netip.MustParsePrefix("255.0.0.0/8")
	for _, text := range []string{
		egress.DefaultSinkholeRange, "198.18.0.0/15", "240.224.0.0/11", "100::/64", "fd00::/16",
	} {
		sinkhole, within := parseSinkhole(t, text), netip.MustParsePrefix(text)
		for n := range 100_000 {
			host := fmt.Sprintf("host-%d.example", n)
			address := sinkhole.Address(host)
			if !within.Contains(address) || istio.Contains(address) || broadcast.Contains(address) || istio6.Contains(address) {
				t.Fatalf("%s has the address %s in %s", host, address, text)
			}
		}
	}
}

func parseSinkhole(t *testing.T, ranges ...string) egress.Sinkhole {
	t.Helper()
	sinkhole, err := egress.ParseSinkhole(ranges)
	if err != nil {
		t.Fatal(err)
	}
	return sinkhole
}

func TestParseSinkholeRefuses(t *testing.T) {
	const routed = "can be routed, so calls could arrive in plain text; use 240.0.0.0/4, 198.18.0.0/15 or 100::/64, " +
		"or a private range that nothing uses"
	for name, test := range map[string]struct {
		ranges []string
		want   string
	}{
		"an address": {
			[]string{"240.0.0.1"},
			`the sinkhole range "240.0.0.1" is not a CIDR; write an address range such as 240.0.0.0/4 or 100::/64`,
		},
		"bits after the prefix": {
			[]string{"198.18.1.0/15"}, `the sinkhole range "198.18.1.0/15" has bits after the prefix; write 198.18.0.0/15`,
		},
		"too few addresses": {
			[]string{"198.18.0.0/24"},
			`the sinkhole range "198.18.0.0/24" is too small, because two hosts of a namespace would often get the same ` +
				"address; use a prefix length of at most 20",
		},
		"loopback, to which sidecars let calls pass": {
			[]string{"127.16.0.0/12"},
			`the sinkhole range "127.16.0.0/12" ` + routed,
		},
		"everything": {
			[]string{"::/0"},
			`the sinkhole range "::/0" ` + routed,
		},
		"addresses of the internet": {[]string{"8.0.0.0/8"}, `the sinkhole range "8.0.0.0/8" ` + routed},
		"6to4":                      {[]string{"2002::/16"}, `the sinkhole range "2002::/16" ` + routed},
		"IPv4 in IPv6": {
			[]string{"::ffff:240.0.0.0/100"}, `the sinkhole range "::ffff:240.0.0.0/100" ` + routed,
		},
		"the range of Istio's own addresses": {
			[]string{"240.240.0.0/16"},
			`the sinkhole range "240.240.0.0/16" is in 240.240.0.0/16, in which no host gets an address`,
		},
		"all at once": {
			[]string{"x", "198.18.0.0/15", "y"},
			`the sinkhole range "x" is not a CIDR; write an address range such as 240.0.0.0/4 or 100::/64` + "\n" +
				`the sinkhole range "y" is not a CIDR; write an address range such as 240.0.0.0/4 or 100::/64`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := egress.ParseSinkhole(test.ranges); err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestObservedSinkhole(t *testing.T) {
	for name, test := range map[string]struct {
		addresses []string
		want      string
	}{
		"none":                     {nil, "240.0.0.0/4"},
		"one of the default":       {[]string{"241.0.0.1"}, "240.0.0.0/4"},
		"another one":              {[]string{"100::1", "100::1"}, "100::1/128"},
		"a former one":             {[]string{"100::1", "241.0.0.1"}, "100::1/128 and 241.0.0.1/32"},
		"a former one of no range": {[]string{"241.0.0.1", "198.18.0.1"}, "240.0.0.0/4 and 198.18.0.1/32"},
		"one that Istio allocates": {[]string{"240.240.0.1"}, "240.0.0.0/4"},
		"one of Istio and of IPv6": {[]string{"2001:2::1"}, "240.0.0.0/4"},
	} {
		t.Run(name, func(t *testing.T) {
			var addresses []netip.Addr
			for _, text := range test.addresses {
				addresses = append(addresses, netip.MustParseAddr(text))
			}
			if got := egress.ObservedSinkhole(addresses).String(); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// A target keeps the address that running Pods have, as long as new Pods may get it.
func TestTheAddressInTheStatusStays(t *testing.T) {
	const host = "external.system.com"
	for name, test := range map[string]struct {
		ranges []string
		status string
		want   string
	}{
		"one of the range":               {nil, "241.2.3.4", "241.2.3.4"},
		"one of a range that was before": {[]string{"198.18.0.0/15", "240.0.0.0/4"}, "254.110.240.171", "198.19.205.222"},
		"one of Istio":                   {nil, "240.240.0.7", "254.110.240.171"},
		"none":                           {nil, "", "254.110.240.171"},
		"no address":                     {nil, "x", "254.110.240.171"},
		"one of IPv6":                    {[]string{"100::/64"}, "100::1", "100::1"},
	} {
		t.Run(name, func(t *testing.T) {
			egressTarget := &v1alpha1.EgressTarget{Status: v1alpha1.EgressTargetStatus{Address: test.status}}
			got := egress.FromEgressTarget("project", host, egressTarget, parseSinkhole(t, test.ranges...)).Address()
			if got.String() != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// A target that catches plain calls to another gets another address. The other keeps its own, and
// running Pods of the other count wherever they are.
func TestATargetThatCatchesCallsMoves(t *testing.T) {
	one, other := collidingHosts(t)
	a, b := egress.Target{Host: one, Port: 80, AppPort: 8080}, egress.Target{Host: other, Port: 443, AppPort: 80}
	moved := a.Apart([]egress.Target{a, b})
	if a.Address() != b.Address() || !a.Catches(b) || moved.Catches(b) || moved.Address() == a.Address() {
		t.Errorf("%s and %s, then %s", a.Address(), b.Address(), moved.Address())
	}
	if again := moved.Apart([]egress.Target{b}); again.Address() != moved.Address() {
		t.Errorf("then %s", again.Address())
	}
	if still := b.Apart([]egress.Target{moved}); still.Address() != b.Address() {
		t.Errorf("the other moved to %s", still.Address())
	}
	b.Addresses = []netip.Addr{netip.MustParseAddr("241.0.0.1")}
	if !a.Catches(b) {
		t.Error("running Pods of the other, which can have its first address, don't count")
	}
}

// The targets of one Pod move apart in whatever order its annotation has them.
func TestTheTargetsOfAPodMoveApart(t *testing.T) {
	one, other := collidingHosts(t)
	egressTargets := map[string]*v1alpha1.EgressTarget{
		one:   {Spec: v1alpha1.EgressTargetSpec{Port: 9443, AppPort: 8080}},
		other: {Spec: v1alpha1.EgressTargetSpec{AppPort: 9443}},
	}
	for _, hosts := range []string{one + "," + other, other + "," + one} {
		intent := parse(t, map[string]string{egress.AnnotationTarget: hosts, egress.AnnotationSecret: "both"})
		targets, errs := egress.Resolve("project", intent, egressTargets, egress.Sinkhole{}, field.NewPath("annotations"))
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		if targets[0].Catches(targets[1]) || targets[1].Catches(targets[0]) {
			t.Errorf("%s: %s and %s", hosts, targets[0].Address(), targets[1].Address())
		}
	}
}

// Pods of one target can have several addresses. Each counts.
func TestEachAddressOfATargetCounts(t *testing.T) {
	one := egress.Target{Host: "a.example", AppPort: 80}.AlsoAt([]netip.Addr{netip.MustParseAddr("241.0.0.1")})
	other := egress.Target{Host: "b.example", AppPort: 80, Port: 443}
	if one.SharesAddress(other) {
		t.Fatal("they share an address from the start")
	}
	if !one.SharesAddress(other.AlsoAt(one.Addresses[1:])) {
		t.Error("they don't share the address of running Pods")
	}
}

// collidingHosts finds two hosts with the same address. There are 2^28 addresses, so by the
// birthday paradox about twenty thousand hosts contain a pair.
func collidingHosts(t *testing.T) (one, other string) {
	t.Helper()
	seen := map[netip.Addr]string{}
	for n := range 1_000_000 {
		host := fmt.Sprintf("host-%d.example", n)
		address := egress.Sinkhole{}.Address(host)
		if first, taken := seen[address]; taken {
			return first, host
		}
		seen[address] = host
	}
	t.Fatal("no two of a million hosts share an address, which is practically impossible")
	return "", ""
}

func TestTargetsOfOneAddressAndAppPortShareIt(t *testing.T) {
	one, other := collidingHosts(t)
	of := func(host string, appPort int32) egress.Target { return egress.Target{Host: host, AppPort: appPort} }
	tests := map[string]struct {
		others []egress.Target
		want   bool
	}{
		"alone":                         {nil, false},
		"beside itself":                 {[]egress.Target{of(one, 80)}, false},
		"beside one of another address": {[]egress.Target{of("external.system.com", 80)}, false},
		"beside one of the address, on another port": {[]egress.Target{of(other, 8080)}, false},
		"beside one of the address and port": {
			[]egress.Target{of("external.system.com", 80), of(other, 80)},
			true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := of(one, 80).Among(test.others).AddressShared; got != test.want {
				t.Errorf("AddressShared = %t", got)
			}
		})
	}
}
