package interception

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadInjector(t *testing.T) {
	settings := func(changed map[string]string) Settings {
		all := Settings{
			Mode: Redirect, IncludeRanges: "*", ExcludeRanges: "",
			IncludePorts: "", ExcludePorts: "",
		}
		maps.Copy(all, changed)
		return all
	}
	tests := map[string]struct {
		config, values string
		want           Injector
		problem        string
	}{
		"nothing is set": {values: "{}", want: Injector{Interception: settings(nil)}},
		"the values of another version": {
			config: "policy: enabled\ntemplates: {}\n", values: `{"global":{"proxy":{"new":true}},"pilot":null}`,
			want: Injector{Interception: settings(nil)},
		},
		"all that is read": {
			config: "policy: disabled",
			values: `{"sidecarInjectorWebhook":{"enableNamespacesByDefault":true},"global":{"proxy":{` +
				`"includeIPRanges":"10.0.0.0/8","excludeIPRanges":"240.0.0.0/4","includeOutboundPorts":"3306",` +
				`"excludeOutboundPorts":"80"}}}`,
			want: Injector{EveryNamespace: true, OnRequest: true, Interception: settings(map[string]string{
				IncludeRanges: "10.0.0.0/8", ExcludeRanges: "240.0.0.0/4",
				IncludePorts: "3306", ExcludePorts: "80",
			})},
		},
		"no range at all": {
			values: `{"global":{"proxy":{"includeIPRanges":""}}}`,
			want:   Injector{Interception: settings(map[string]string{IncludeRanges: ""})},
		},
		"a port as a number, which istiod refuses too": {
			values: `{"global":{"proxy":{"excludeOutboundPorts":80}}}`, problem: "not those of Istio's chart",
		},
		"a configuration that is not YAML": {config: "policy: [", values: "{}", problem: "is not YAML"},
		"values that are not JSON":         {values: "global: {}", problem: "not those of Istio's chart"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ReadInjector(test.config, test.values)
			if (err == nil) != (test.problem == "") || err != nil && !strings.Contains(err.Error(), test.problem) {
				t.Fatalf("error %v, want %q", err, test.problem)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
