package interception

import (
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"
)

// The defaults for where istiod reads the configuration of its sidecar injector.
const (
	// DefaultInjectorConfigMap is the name of the ConfigMap. A control plane with a revision uses
	// istio-sidecar-injector-REVISION.
	DefaultInjectorConfigMap = "istio-sidecar-injector"
	// InjectorConfigKey is its key with the injector's configuration.
	InjectorConfigKey = "config"
	// InjectorValuesKey is its key with the values of Istio's chart.
	InjectorValuesKey = "values"
)

// Injector is the part of the configuration of Istio's sidecar injector that says which Pods get a
// sidecar and which of their calls it intercepts. The zero value has Istio's defaults.
// https://github.com/istio/istio/blob/1.31.0/manifests/charts/istio-control/istio-discovery/values.yaml
type Injector struct {
	// EveryNamespace reports whether Pods in namespaces without a label for injection get a sidecar
	// too (sidecarInjectorWebhook.enableNamespacesByDefault).
	EveryNamespace bool
	// OnRequest reports whether only Pods with the label sidecar.istio.io/inject: "true" get a sidecar
	// (policy: disabled).
	OnRequest bool
	// Interception are the settings for Pods without annotations (global.proxy). nil means Istio's
	// defaults.
	Interception Settings
}

// ReadInjector parses the two texts of the ConfigMap: the injector's configuration in YAML, and the
// values of Istio's chart in JSON. It ignores all other fields.
func ReadInjector(config, values string) (Injector, error) {
	injector := Injector{Interception: Defaults()}
	var policy struct {
		Policy string `json:"policy"`
	}
	if err := yaml.Unmarshal([]byte(config), &policy); err != nil {
		return Injector{}, fmt.Errorf("the configuration of the injector is not YAML: %w", err)
	}
	injector.OnRequest = policy.Policy == "disabled"
	var read struct {
		SidecarInjectorWebhook struct {
			EnableNamespacesByDefault bool `json:"enableNamespacesByDefault"`
		} `json:"sidecarInjectorWebhook"`
		Global struct {
			Proxy struct {
				IncludeIPRanges      *string `json:"includeIPRanges"`
				ExcludeIPRanges      string  `json:"excludeIPRanges"`
				IncludeOutboundPorts string  `json:"includeOutboundPorts"`
				ExcludeOutboundPorts string  `json:"excludeOutboundPorts"`
			} `json:"proxy"`
		} `json:"global"`
	}
	if err := json.Unmarshal([]byte(values), &read); err != nil {
		return Injector{}, fmt.Errorf("the values of the injector are not those of Istio's chart: %w", err)
	}
	injector.EveryNamespace = read.SidecarInjectorWebhook.EnableNamespacesByDefault
	proxy := read.Global.Proxy
	if proxy.IncludeIPRanges != nil {
		injector.Interception[IncludeRanges] = *proxy.IncludeIPRanges
	}
	injector.Interception[ExcludeRanges] = proxy.ExcludeIPRanges
	injector.Interception[IncludePorts] = proxy.IncludeOutboundPorts
	injector.Interception[ExcludePorts] = proxy.ExcludeOutboundPorts
	return injector, nil
}
