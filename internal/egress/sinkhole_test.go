package egress_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

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
		got[host] = egress.SinkholeAddress(host).String()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

func TestSinkholeAddressStaysInsideClassE(t *testing.T) {
	classE := netip.MustParsePrefix("240.0.0.0/4")
	istio := netip.MustParsePrefix("240.240.0.0/16")
	broadcast := netip.MustParsePrefix("255.0.0.0/8")
	for n := range 500_000 {
		host := fmt.Sprintf("host-%d.example", n)
		address := egress.SinkholeAddress(host)
		if !classE.Contains(address) || istio.Contains(address) || broadcast.Contains(address) {
			t.Fatalf("%s has the address %s", host, address)
		}
	}
}

// collidingHosts finds two hosts with the same address. There are 2^28 addresses, so by the
// birthday paradox about twenty thousand hosts contain a pair.
func collidingHosts(t *testing.T) (one, other string) {
	t.Helper()
	seen := map[netip.Addr]string{}
	for n := range 1_000_000 {
		host := fmt.Sprintf("host-%d.example", n)
		address := egress.SinkholeAddress(host)
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
