package mesh_test

import (
	"strings"
	"testing"

	"mtls.egress/webhook/internal/mesh"
)

func TestDNSCapture(t *testing.T) {
	// setting is a mesh configuration with the variable as YAML writes it.
	setting := func(value string) string {
		return "defaultConfig:\n  proxyMetadata:\n    ISTIO_META_DNS_CAPTURE: " + value + "\n"
	}
	// installed is what Istio's chart writes, with proxyMetadata added through its value meshConfig.
	const installed = `
accessLogFile: /dev/stdout
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
  image: {imageType: distroless}
  holdApplicationUntilProxyStarts: true
  proxyMetadata:
    ISTIO_META_DNS_CAPTURE: "true"
    ISTIO_META_OTHER: other
  tracing: {zipkin: {address: zipkin.istio-system:9411}}
defaultProviders: {metrics: [prometheus]}
enablePrometheusMerge: true
extensionProviders:
- name: otel
  envoyOtelAls: {service: collector.observe.svc.cluster.local, port: 4317}
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
connectTimeout: 10s
rootNamespace: istio-system
trustDomain: cluster.local
`
	tests := map[string]struct {
		config string
		want   bool
		// fails is what the error says, "" for none.
		fails string
	}{
		"nothing at all":                         {config: ""},
		"comments only":                          {config: "# see the wiki\n"},
		"an empty configuration":                 {config: "{}"},
		"a configuration without proxy settings": {config: "trustDomain: cluster.local\n"},
		"proxy settings without metadata":        {config: "defaultConfig: {concurrency: 2}\n"},
		"no proxy settings":                      {config: "defaultConfig:\n"},
		"other metadata only":                    {config: "defaultConfig: {proxyMetadata: {ISTIO_META_OTHER: \"true\"}}\n"},
		"metadata at the top":                    {config: "proxyMetadata: {ISTIO_META_DNS_CAPTURE: \"true\"}\n"},
		"the variable in lower case":             {config: "defaultConfig: {proxyMetadata: {istio_meta_dns_capture: \"true\"}}\n"},
		"switched on":                            {config: setting(`"true"`), want: true},
		"switched off":                           {config: setting(`"false"`)},
		"switched on with 1":                     {config: setting(`"1"`), want: true},
		"switched on in capitals":                {config: setting(`"TRUE"`), want: true},
		"switched off with 0":                    {config: setting(`"0"`)},
		"switched on as JSON":                    {config: `{"defaultConfig":{"proxyMetadata":{"ISTIO_META_DNS_CAPTURE":"true"}}}`, want: true},
		"the other spelling that Istio takes": {
			config: "defaultConfig: {proxy_metadata: {ISTIO_META_DNS_CAPTURE: \"true\"}}\n", want: true,
		},
		"all that an installation has": {config: installed, want: true},
		"fields that a newer Istio knows": {
			config: "tomorrow: {at: [1, 2]}\n" + setting(`"true"`) + "  tomorrow: {at: noon}\n", want: true,
		},
		"a choice that a newer Istio knows": {
			config: "outboundTrafficPolicy: {mode: TOMORROW}\n" + setting(`"true"`), want: true,
		},
		"text that is no YAML": {config: "defaultConfig: [", fails: "the mesh configuration is no YAML: "},
		"a list":               {config: "- defaultConfig\n", fails: "the mesh configuration is no MeshConfig: "},
		"a value without quotes, which Istio refuses too": {
			config: setting("true"), fails: "the mesh configuration is no MeshConfig: ",
		},
		"another field that Istio refuses too": {
			config: "connectTimeout: soon\n" + setting(`"true"`), fails: "the mesh configuration is no MeshConfig: ",
		},
		"a word that is no boolean": {
			config: setting(`"yes"`),
			fails:  `defaultConfig.proxyMetadata.ISTIO_META_DNS_CAPTURE of the mesh configuration is "yes"; it has to be "true" or "false"`,
		},
		"an empty value": {
			config: setting(`""`),
			fails:  `defaultConfig.proxyMetadata.ISTIO_META_DNS_CAPTURE of the mesh configuration is ""; it has to be "true" or "false"`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := mesh.DNSCapture(test.config)
			if got != test.want {
				t.Errorf("capture is %t, want %t", got, test.want)
			}
			switch {
			case test.fails == "" && err != nil:
				t.Errorf("error %v, want none", err)
			case test.fails != "" && (err == nil || !strings.HasPrefix(err.Error(), test.fails)):
				t.Errorf("error %v, want one that begins with %q", err, test.fails)
			}
		})
	}
}

// FuzzDNSCapture: whatever stands in the mesh configuration, reading it ends, and what can't be read is never taken for a setting.
func FuzzDNSCapture(f *testing.F) {
	for _, text := range []string{"", "null", "defaultConfig:\n  proxyMetadata:\n    ISTIO_META_DNS_CAPTURE: \"true\"\n", "a: &a [*a]", "{", "defaultConfig: []", "- a", "enableTracing: 1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if on, err := mesh.DNSCapture(text); on && (err != nil || !strings.Contains(text, "ISTIO_META_DNS_CAPTURE") && !strings.ContainsAny(text, `\&`)) {
			t.Errorf("on, with the error %v, of %q", err, text)
		}
	})
}
