package interception_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/interception"
)

func TestReadArguments(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want map[string]string
	}{
		"Istio's defaults": {
			[]string{"istio-iptables", "-p", "15001", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*"},
			map[string]string{interception.Mode: interception.Redirect, interception.IncludeRanges: "*"},
		},
		"all of them": {
			[]string{"-m", "TPROXY", "-i", "10.0.0.0/8", "-x", "240.0.0.0/4", "-q", "80", "-o", "8080", "-k", "net1",
				"-c", "eth1"},
			map[string]string{
				interception.Mode: "TPROXY", interception.IncludeRanges: "10.0.0.0/8",
				interception.ExcludeRanges: "240.0.0.0/4", interception.IncludePorts: "80", interception.ExcludePorts: "8080",
				interception.KubeVirtInterfaces: "net1", interception.ExcludeInterfaces: "eth1",
			},
		},
		"a flag without a value": {[]string{"-i", "*", "-o"}, map[string]string{interception.IncludeRanges: "*"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(interception.Of(test.want, nil), interception.ReadArguments(test.args)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
