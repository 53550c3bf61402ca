package mutate

import (
	"errors"
	"fmt"
	"slices"

	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/interception"
)

// annotationProxyConfig is Istio's ProxyConfig as YAML. Its interceptionMode holds where the
// annotation of that name is missing.
// https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig
const annotationProxyConfig = "proxy.istio.io/config"

// noInterception is the mode in which Istio intercepts nothing.
const noInterception = "NONE"

// istioConfig is what matters here of a Pod's ProxyConfig.
type istioConfig struct {
	// mode is an interception mode, "" when the configuration says none.
	mode string
	// variables are those that istio-iptables reads and that change which calls it leads to the
	// sidecar.
	variables []string
}

// readIstioConfig reads the fields as Istio does: by the name in JSON or in Protobuf, an enum by
// its name or number. Of a mode that is not one of those that intercept, whatever its spelling, it
// says NONE.
// https://github.com/golang/protobuf/blob/v1.5.4/jsonpb/decode.go
func readIstioConfig(annotations map[string]string) (istioConfig, error) {
	value := annotations[annotationProxyConfig]
	if value == "" {
		return istioConfig{}, nil
	}
	var fields map[string]any
	if err := yaml.Unmarshal([]byte(value), &fields); err != nil {
		return istioConfig{}, errors.New("can't be read as YAML with the fields of a ProxyConfig, so Istio would refuse the Pod; " +
			"write it as in https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig")
	}
	var config istioConfig
	for _, name := range []string{"interception_mode", "interceptionMode"} {
		if value, said := fields[name]; said && value != nil {
			config.mode = modeOf(value)
		}
		if config.mode == noInterception {
			break
		}
	}
	for _, name := range []string{"proxy_metadata", "proxyMetadata"} {
		variables, _ := fields[name].(map[string]any)
		for variable := range variables {
			if slices.Contains(interception.Variables(), variable) {
				config.variables = append(config.variables, variable)
			}
		}
	}
	slices.Sort(config.variables)
	config.variables = slices.Compact(config.variables)
	return config, nil
}

func modeOf(value any) string {
	switch value {
	case interception.Redirect, 0.0:
		return interception.Redirect
	case interception.TProxy, 1.0:
		return interception.TProxy
	}
	return noInterception
}

func (c istioConfig) warnings() []string {
	var warnings []string
	for _, variable := range c.variables {
		warnings = append(warnings, fmt.Sprintf("%s: %s in proxyMetadata changes which calls Istio leads to the sidecar; a call to a target that the sidecar doesn't see is dropped at its sinkhole address, so take it out if that happens",
			annotationProxyConfig, egress.Excerpt(variable)))
	}
	return warnings
}
