package mesh_test

import (
	"testing"

	"mtls.egress/webhook/internal/mesh"
)

func TestDynamicDNS(t *testing.T) {
	// installed is what Istio's chart writes.
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
		want   bool
		fails  string
	}{
		"nothing at all":                       {},
		"comments only":                        {config: "# see the wiki\n"},
		"no policy":                            {config: "trustDomain: cluster.local\n"},
		"a policy without a mode":              {config: "outboundTrafficPolicy: {}\n"},
		"unknown hosts pass":                   {config: "outboundTrafficPolicy: {mode: ALLOW_ANY}\n"},
		"unknown hosts are refused":            {config: "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n"},
		"unknown hosts are resolved":           {config: installed, want: true},
		"the mode as a number":                 {config: "outboundTrafficPolicy: {mode: 3}\n", want: true},
		"the other spelling that Istio takes":  {config: "outbound_traffic_policy: {mode: ALLOW_ANY_DYNAMIC_DNS}\n", want: true},
		"a mode that a newer Istio knows":      {config: "outboundTrafficPolicy: {mode: FUTURE}\n"},
		"a field that a newer Istio knows":     {config: "future: 1\noutboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}\n", want: true},
		"a text that is not YAML":              {config: "{", fails: "the mesh configuration is not YAML: "},
		"a list":                               {config: "[]", fails: "the mesh configuration is not a MeshConfig: "},
		"a field of another type than Istio's": {config: "outboundTrafficPolicy: 1\n", fails: "the mesh configuration is not a MeshConfig: "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := mesh.DynamicDNS(test.config)
			said := ""
			if err != nil {
				said = err.Error()[:min(len(err.Error()), len(test.fails))]
			}
			if got != test.want || said != test.fails || (err != nil) != (test.fails != "") {
				t.Errorf("%t, %v; want %t, %q", got, err, test.want, test.fails)
			}
		})
	}
}
