package mutate

import (
	"errors"
	"slices"

	"istio.io/api/annotation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/interception"
)

// noInterception is the mode that disables interception.
const noInterception = "NONE"

// istioConfig is the relevant part of a Pod's ProxyConfig, which an annotation holds as YAML. Its
// interceptionMode applies if the interception mode annotation is missing.
//
// https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig
type istioConfig struct {
	// mode is the interception mode, or "" if unset.
	mode string
	// variables are the proxyMetadata variables that istio-iptables reads and that change which
	// calls it redirects to the sidecar.
	variables []string
}

// readIstioConfig parses the fields as Istio does: by JSON or Protobuf name, and an enum by name or
// number. It treats any mode that doesn't intercept calls, however it is spelled, as NONE.
//
// https://github.com/golang/protobuf/blob/v1.5.4/jsonpb/decode.go
func readIstioConfig(annotations map[string]string) (istioConfig, error) {
	value := annotations[annotation.ProxyConfig.Name]
	if value == "" {
		return istioConfig{}, nil
	}
	var fields map[string]any
	if err := yaml.Unmarshal([]byte(value), &fields); err != nil {
		return istioConfig{}, errors.New("is not a YAML ProxyConfig, so Istio would reject the Pod; " +
			"write it as in https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig")
	}
	var config istioConfig
	for _, name := range []string{"interception_mode", "interceptionMode"} {
		if value, found := fields[name]; found && value != nil {
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

func (c istioConfig) warnings(at *field.Path) []Warning {
	var warnings []Warning
	for _, variable := range c.variables {
		warnings = append(
			warnings,
			warningf(
				ReasonTrafficDoubt, at.Key(annotation.ProxyConfig.Name),
				"%s: %s in proxyMetadata changes which calls the sidecar intercepts; calls to a target that are not "+
					"intercepted are dropped, so remove it if that happens", annotation.ProxyConfig.Name,
				egress.Excerpt(variable)),
		)
	}
	return warnings
}
