package mutate_test

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/mutate"
)

// An intercepted call is admitted, with a warning if only the app's own https call is excluded.
func TestTrafficAnnotationsThatWork(t *testing.T) {
	const traffic = "traffic.sidecar.istio.io/"
	tests := map[string]struct {
		annotations map[string]string
		warnings    []string
	}{
		"another port included": {map[string]string{traffic + "includeOutboundPorts": "8080"}, nil},
		"no port included":      {map[string]string{traffic + "includeOutboundPorts": ""}, nil},
		"no address, but the app port included": {
			map[string]string{traffic + "includeOutboundIPRanges": "", traffic + "includeOutboundPorts": "80"},
			[]string{
				`traffic.sidecar.istio.io/includeOutboundIPRanges: the app's own calls to ` +
					`https://external.system.com would be dropped at 254.110.240.171, because the sidecar doesn't ` +
					`intercept port 443 of that address; add 254.110.240.171/32 if the app makes such calls`,
			},
		},
		"no address, but both ports included": {
			map[string]string{traffic + "includeOutboundIPRanges": "", traffic + "includeOutboundPorts": "80,443"},
			nil,
		},
		"the partner's TLS port excluded": {
			map[string]string{traffic + "excludeOutboundPorts": "443"},
			[]string{
				`traffic.sidecar.istio.io/excludeOutboundPorts: the app's own calls to https://external.system.com ` +
					`would be dropped at 254.110.240.171, because the sidecar doesn't intercept port 443; remove 443 ` +
					`if the app makes such calls`,
			},
		},
		"interception by TPROXY": {map[string]string{"sidecar.istio.io/interceptionMode": "TPROXY"}, nil},
		"the annotation instead of the proxy's configuration": {
			map[string]string{
				"sidecar.istio.io/interceptionMode": "REDIRECT",
				"proxy.istio.io/config":             "concurrency: 2\ninterceptionMode: NONE",
			},
			nil,
		},
		"a proxy's configuration with the mode by number": {
			map[string]string{"proxy.istio.io/config": "interception_mode: 1\nINTERCEPTIONMODE: NONE"},
			nil,
		},
		"an empty proxy's configuration": {
			map[string]string{"proxy.istio.io/config": "# nothing"},
			nil,
		},
		"variables of istio-iptables": {
			map[string]string{
				"proxy.istio.io/config": "proxyMetadata: {ISTIO_META_DNS_CAPTURE: \"true\", " +
					"ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE: \"80\"}",
			},
			[]string{
				`proxy.istio.io/config: ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE in proxyMetadata changes which calls the sidecar ` +
					`intercepts; calls to a target that are not intercepted are dropped, so remove it if that happens`,
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pod := annotated(func(pod *corev1.Pod) {
				maps.Copy(pod.Annotations, test.annotations)
			})
			result := corpusCase{rules: everyHost, object: encode(t, pod)}.mutate(t)
			if len(result.Errors) > 0 {
				t.Errorf("unexpected errors: %v", result.Errors)
			}
			if diff := cmp.Diff(test.warnings, mutate.Texts(result.Warnings), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}
