package mesh_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/interception"
	"mtls.egress/webhook/internal/mesh"
)

func TestReadInjector(t *testing.T) {
	settings := func(changed map[string]string) interception.Settings {
		all := interception.Settings{
			interception.Mode: interception.Redirect, interception.IncludeRanges: "*", interception.ExcludeRanges: "",
			interception.IncludePorts: "", interception.ExcludePorts: "",
		}
		for name, value := range changed {
			all[name] = value
		}
		return all
	}
	tests := map[string]struct {
		config, values string
		want           mesh.Injector
		problem        string
	}{
		"nothing is set": {values: "{}", want: mesh.Injector{Interception: settings(nil)}},
		"the values of another version": {
			config: "policy: enabled\ntemplates: {}\n", values: `{"global":{"proxy":{"new":true}},"pilot":null}`,
			want: mesh.Injector{Interception: settings(nil)},
		},
		"all that is read": {
			config: "policy: disabled",
			values: `{"sidecarInjectorWebhook":{"enableNamespacesByDefault":true},"global":{"proxy":{` +
				`"includeIPRanges":"10.0.0.0/8","excludeIPRanges":"240.0.0.0/4","includeOutboundPorts":"3306",` +
				`"excludeOutboundPorts":"80"}}}`,
			want: mesh.Injector{EveryNamespace: true, OnRequest: true, Interception: settings(map[string]string{
				interception.IncludeRanges: "10.0.0.0/8", interception.ExcludeRanges: "240.0.0.0/4",
				interception.IncludePorts: "3306", interception.ExcludePorts: "80",
			})},
		},
		"no range at all": {
			values: `{"global":{"proxy":{"includeIPRanges":""}}}`,
			want:   mesh.Injector{Interception: settings(map[string]string{interception.IncludeRanges: ""})},
		},
		"a port as a number, which istiod refuses too": {
			values: `{"global":{"proxy":{"excludeOutboundPorts":80}}}`, problem: "not those of Istio's chart",
		},
		"a configuration that is not YAML": {config: "policy: [", values: "{}", problem: "is not YAML"},
		"values that are not JSON":         {values: "global: {}", problem: "not those of Istio's chart"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := mesh.ReadInjector(test.config, test.values)
			if (err == nil) != (test.problem == "") || err != nil && !strings.Contains(err.Error(), test.problem) {
				t.Fatalf("error %v, want %q", err, test.problem)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
