package interception_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mtls.egress/webhook/internal/interception"
)

// The test checks the rules one by one. test/interception compares them with istio-iptables.
func TestObstacles(t *testing.T) {
	defaults, nothing := interception.Defaults(), interception.Settings{interception.Mode: interception.Redirect}
	tests := map[string]struct {
		annotations map[string]string
		mesh        interception.Settings
		want        []string
	}{
		"nothing said":          {nil, defaults, nil},
		"another port included": {map[string]string{interception.IncludePorts: "8080"}, defaults, nil},
		"no range included": {
			map[string]string{interception.IncludeRanges: ""},
			defaults,
			[]string{interception.IncludeRanges},
		},
		"no range, but the port included": {
			map[string]string{interception.IncludeRanges: "", interception.IncludePorts: "8080, 80"},
			defaults,
			nil,
		},
		"a mesh that includes nothing":         {nil, nothing, []string{interception.IncludeRanges}},
		"the port, where the mesh has nothing": {map[string]string{interception.IncludePorts: "80"}, nothing, nil},
		"another range included": {
			map[string]string{interception.IncludeRanges: "10.0.0.0/8"},
			defaults,
			[]string{interception.IncludeRanges},
		},
		"the port included and excluded": {
			map[string]string{interception.IncludePorts: "80", interception.ExcludePorts: "80"},
			defaults,
			[]string{interception.ExcludePorts},
		},
		"the port included, the range excluded": {
			map[string]string{interception.IncludePorts: "80", interception.ExcludeRanges: "240.0.0.0/4"},
			defaults,
			[]string{interception.ExcludeRanges},
		},
		"another mode": {map[string]string{interception.Mode: "TPROXY"}, defaults, nil},
		"no interception": {
			map[string]string{interception.Mode: "NONE"},
			defaults,
			[]string{interception.Mode},
		},
		"the mesh excludes, the Pod takes back": {
			map[string]string{interception.ExcludePorts: ""},
			interception.Settings{
				interception.Mode:          "REDIRECT",
				interception.IncludeRanges: "*",
				interception.ExcludePorts:  "80",
			},
			nil,
		},
		"all that is wrong, in the rules' order": {
			map[string]string{
				interception.ExcludeRanges:     "0.0.0.0/0",
				interception.ExcludeInterfaces: "net1, eth0",
				interception.IncludeRanges:     "::/0",
			},
			defaults,
			[]string{interception.ExcludeInterfaces, interception.ExcludeRanges, interception.IncludeRanges},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			address := netip.MustParseAddr("254.110.240.171")
			got := interception.Of(test.annotations, test.mesh).Obstacles(address, 80)
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if intercepted := interception.Intercepted(test.annotations, test.mesh, address,
				80); intercepted != (len(test.want) == 0) {
				t.Errorf("intercepted: %t", intercepted)
			}
		})
	}
}

func TestMalformed(t *testing.T) {
	tests := map[string]struct {
		annotation, value string
		want              []string
	}{
		"ports": {interception.ExcludePorts, "80, 8080,", nil},
		"a port that iptables reads as octal, 80": {interception.ExcludePorts, "0120,81", []string{"0120"}},
		"a port in hexadecimal":                   {interception.IncludePorts, "0x50", []string{"0x50"}},
		"a service":                               {interception.IncludePorts, "http", []string{"http"}},
		"a range of ports":                        {interception.IncludePorts, "1:100", []string{"1:100"}},
		"more rules": {
			interception.IncludePorts,
			`80 -j RETURN\n-A ISTIO_OUTPUT -p tcp --dport 1`,
			[]string{`80 -j RETURN\n-A ISTIO_OUTPUT -p tcp --dport 1`},
		},
		"every port":              {interception.IncludePorts, "*", []string{"*"}},
		"every address included":  {interception.IncludeRanges, "*", nil},
		"every address excluded":  {interception.ExcludeRanges, "*", []string{"*"}},
		"every address in a list": {interception.IncludeRanges, "10.0.0.0/8,*", []string{"*"}},
		"an address without length": {
			interception.IncludeRanges,
			"10.0.0.1,10.0.0.0/8",
			[]string{"10.0.0.1"},
		},
		"interfaces":                   {interception.ExcludeInterfaces, "net1,eth0.100", nil},
		"an interface that is several": {interception.ExcludeInterfaces, "eth+", []string{"eth+"}},
		"an interface and more": {
			interception.RerouteInterfaces,
			"net1 -d 10.0.0.1",
			[]string{"net1 -d 10.0.0.1"},
		},
		"a mode": {interception.Mode, "NONE", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := interception.Malformed(test.annotation, test.value)
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
