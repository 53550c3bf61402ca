// Package interception_test compares internal/interception with the rules that istio-iptables
// writes. It is a module of its own, so that Istio stays out of the program's.
package interception_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"istio.io/istio/pkg/log"

	"mtls.egress/webhook/internal/interception"
)

func TestMain(m *testing.M) {
	// istio-iptables logs every rule.
	options := log.DefaultOptions()
	options.SetDefaultOutputLevel(log.OverrideScopeName, log.NoneLevel)
	if err := log.Configure(options); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const sets = 20_000

// TestAsIstioIptables generates annotations and mesh defaults, and asks for each set and several
// calls whether the sidecar receives them. Values that are malformed are refused at admission;
// whatever else istio-iptables accepts must be decided as its rules decide it.
func TestAsIstioIptables(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("SEED"); text != "" {
		parsed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = parsed
	}
	random := rand.New(rand.NewPCG(seed, 0))
	type counts struct{ sets, malformed, misread, calls, intercepted, differences int }
	var counted counts
	for range sets {
		annotations, mesh := generated(random)
		counted.sets++
		lines, err := rules(annotations, mesh, random.IntN(4) == 0)
		bad := malformed(annotations)
		if err != nil {
			if len(bad) == 0 {
				t.Errorf("SEED=%d: istio-iptables refuses %v (%v), and nothing in it is malformed", seed, annotations, err)
			}
			counted.malformed++
			continue
		}
		nat := natTable(lines)
		for _, one := range calls {
			want, err := nat.intercepted(one)
			got := interception.Intercepted(annotations, mesh, one.address, int32(one.port))
			switch {
			case len(bad) > 0:
				counted.malformed++
				if err != nil || got != want {
					counted.misread++
				}
			case err != nil:
				t.Fatalf("SEED=%d: %v", seed, err)
			case got != want:
				counted.differences++
				t.Errorf("SEED=%d: %v, mesh %v, call to %s port %d: istio-iptables %t, here %t",
					seed, annotations, mesh, one.address, one.port, want, got)
			default:
				counted.calls++
				if want {
					counted.intercepted++
				}
			}
		}
	}
	t.Logf("SEED=%d: %+v", seed, counted)
}

// calls are to sinkhole addresses and to one in the cluster, on app ports and TLS ports.
var calls = func() []call {
	var calls []call
	for _, address := range []string{"254.110.240.171", "241.0.0.1", "10.96.7.7"} {
		for _, port := range []int{80, 443, 8080} {
			calls = append(calls, call{netip.MustParseAddr(address), port})
		}
	}
	return calls
}()

var pools = map[string][]string{
	interception.Mode:              {"REDIRECT", "REDIRECT", "TPROXY", "NONE"},
	interception.ExcludeInterfaces: {"eth0", "net1", "lo", "eth0.100", " eth0", "eth+", "e+"},
	interception.ExcludePorts:      {"80", "443", "8080", "5432", " 80", "0120", "0x50", "080", "65535"},
	interception.IncludePorts:      {"80", "443", "8080", "5432", "80 ", "0120", "0x50"},
	interception.ExcludeRanges: {
		"240.0.0.0/4", "254.110.240.171/32", "254.110.240.160/28", "241.0.0.0/8", "10.0.0.0/8", "0.0.0.0/0", "::/0",
		"254.110.240.171", "10.0.0.0/33",
	},
	interception.IncludeRanges: {
		"*", "240.0.0.0/4", "254.110.240.171/32", "254.110.240.160/28", "241.0.0.0/8", "10.0.0.0/8", "0.0.0.0/0",
		"127.0.0.0/8", "::/0", "x",
	},
	interception.RerouteInterfaces: {"net1", "eth1"},
}

// generated returns the annotations of a Pod and the settings of its mesh, each of which may say
// nothing.
func generated(random *rand.Rand) (map[string]string, interception.Settings) {
	annotations, mesh := map[string]string{}, interception.Defaults()
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		if random.IntN(3) == 0 {
			annotations[name] = value(random, name)
		}
		fromChart := name != interception.ExcludeInterfaces && name != interception.RerouteInterfaces
		if text := value(random, name); random.IntN(4) == 0 && fromChart && len(interception.Malformed(name, text)) == 0 {
			mesh[name] = text
		}
	}
	return annotations, mesh
}

// value is an empty list, or up to three elements.
func value(random *rand.Rand, name string) string {
	pool := pools[name]
	if name == interception.Mode {
		return pool[random.IntN(len(pool))]
	}
	elements := make([]string, random.IntN(4))
	for i := range elements {
		elements[i] = pool[random.IntN(len(pool))]
	}
	return strings.Join(elements, ",")
}

// malformed returns the annotations that admission refuses for their form.
func malformed(annotations map[string]string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(annotations)), func(name string) bool {
		return len(interception.Malformed(name, annotations[name])) == 0
	})
}

// TestTheInterpreter holds how the rules are read here, for values that users write.
func TestTheInterpreter(t *testing.T) {
	tests := map[string]struct {
		annotations map[string]string
		want        []string
	}{
		"nothing said": {nil, []string{"254.110.240.171:80", "254.110.240.171:443"}},
		"another port included": {
			map[string]string{interception.IncludePorts: "8080"},
			[]string{"254.110.240.171:80", "254.110.240.171:443"},
		},
		"no range included": {map[string]string{interception.IncludeRanges: ""}, nil},
		"no range, but the port included": {
			map[string]string{interception.IncludeRanges: "", interception.IncludePorts: "80"},
			[]string{"254.110.240.171:80"},
		},
		"the port excluded in octal": {map[string]string{interception.ExcludePorts: "0120"}, []string{"254.110.240.171:443"}},
		"all interfaces excluded":    {map[string]string{interception.ExcludeInterfaces: "eth+"}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			lines, err := rules(test.annotations, interception.Defaults(), false)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, one := range []call{
				{netip.MustParseAddr("254.110.240.171"), 80}, {netip.MustParseAddr("254.110.240.171"), 443},
			} {
				intercepted, err := natTable(lines).intercepted(one)
				if err != nil {
					t.Fatal(err)
				}
				if intercepted {
					got = append(got, fmt.Sprintf("%s:%d", one.address, one.port))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
