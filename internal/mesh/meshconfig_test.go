package mesh_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/mesh"
)

func TestReadConfig(t *testing.T) {
	// installed is the default configuration of Istio's chart.
	const installed = `
accessLogFile: /dev/stdout
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
  image: {imageType: distroless}
defaultProviders: {metrics: [prometheus]}
enablePrometheusMerge: true
outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}
connectTimeout: 10s
rootNamespace: istio-system
trustDomain: cluster.local
`
	tests := map[string]struct {
		config string
		want   mesh.Config
		fails  string
	}{
		"nothing at all":          {},
		"comments only":           {config: "# see the wiki\n"},
		"no policy":               {config: "trustDomain: cluster.local\n"},
		"a policy without a mode": {config: "outboundTrafficPolicy: {}\n", want: mesh.Config{RegistryOnly: true}},
		"unknown hosts pass":      {config: "outboundTrafficPolicy: {mode: ALLOW_ANY}\n"},
		"unknown hosts are rejected": {
			config: "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n", want: mesh.Config{RegistryOnly: true},
		},
		"unknown hosts are resolved": {config: installed, want: mesh.Config{DynamicDNS: true}},
		"the mode as a number": {
			config: "outboundTrafficPolicy: {mode: 3}\n", want: mesh.Config{DynamicDNS: true},
		},
		"the other spelling that Istio accepts": {
			config: "outbound_traffic_policy: {mode: ALLOW_ANY_DYNAMIC_DNS}\n", want: mesh.Config{DynamicDNS: true},
		},
		"a mode that a newer Istio knows": {
			config: "outboundTrafficPolicy: {mode: FUTURE}\n", want: mesh.Config{RegistryOnly: true},
		},
		"a field that a newer Istio knows": {
			config: "future: 1\noutboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}\n",
			want:   mesh.Config{DynamicDNS: true},
		},
		"objects are private by default": {
			config: "defaultVirtualServiceExportTo: [.]\ndefaultServiceExportTo: [., istio-system]\n" +
				"defaultDestinationRuleExportTo: [.]\n",
			want: mesh.Config{
				VirtualServiceExportTo: []string{
					".",
				}, DestinationRuleExportTo: []string{"."}, ServiceExportTo: []string{".", "istio-system"},
			},
		},
		"a text that is not YAML": {config: "{", fails: "the mesh configuration is not YAML: "},
		"a list":                  {config: "[]", fails: "the mesh configuration is not a MeshConfig: "},
		"a field of another type than Istio's": {
			config: "outboundTrafficPolicy: 1\n", fails: "the mesh configuration is not a MeshConfig: ",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := mesh.ReadConfig(test.config)
			said := ""
			if err != nil {
				said = err.Error()[:min(len(err.Error()), len(test.fails))]
			}
			if said != test.fails || (err != nil) != (test.fails != "") {
				t.Errorf("%v, want %q", err, test.fails)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
