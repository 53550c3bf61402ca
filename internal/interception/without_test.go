package interception

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWithout(t *testing.T) {
	sinkhole := netip.MustParseAddr("254.110.240.171")
	tests := map[string]struct {
		ranges string
		want   []string
	}{
		"no range":                            {"", nil},
		"ranges without the address":          {"10.0.0.0/8, 172.16.0.0/12", []string{"10.0.0.0/8", "172.16.0.0/12"}},
		"the address itself":                  {"254.110.240.171/32,10.0.0.0/8", []string{"10.0.0.0/8"}},
		"a small range with the address":      {"254.110.240.170/31", []string{"254.110.240.170/32"}},
		"an invalid range is left out":        {"everything,10.0.0.0/8", []string{"10.0.0.0/8"}},
		"a range of IPv6 has no IPv4 address": {"::/0", []string{"::/0"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, Without(test.ranges, sinkhole)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestWithoutLeavesOutExactlyTheExcluded compares the coverage of addresses near the boundaries.
func TestWithoutLeavesOutExactlyTheExcluded(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) // a reproducible sequence
	address := func() netip.Addr {
		return netip.AddrFrom4([4]byte{byte(240 + random.IntN(16)), byte(random.IntN(4)), 0, byte(random.IntN(8))})
	}
	for range 2000 {
		excluded := []netip.Addr{address(), address()}
		ranges := netip.PrefixFrom(address(), random.IntN(33)).String() + "," +
			netip.PrefixFrom(address(), random.IntN(33)).String()
		kept := strings.Join(Without(ranges, excluded...), ",")
		for range 20 {
			asked := address()
			want := covers(ranges, asked) && asked != excluded[0] && asked != excluded[1]
			if got := covers(kept, asked); got != want {
				t.Fatalf("%s without %v is %s, which covers %s: %t, want %t", ranges, excluded, kept, asked, got, want)
			}
		}
	}
}
