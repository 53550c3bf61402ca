package mesh

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	meshconfig "istio.io/api/mesh/v1alpha1"
	"sigs.k8s.io/yaml"
)

// The defaults for where istiod reads the mesh configuration.
const (
	// DefaultMeshConfigMap is the name of the ConfigMap. A control plane with a revision uses
	// istio-REVISION.
	DefaultMeshConfigMap = "istio"
	// MeshConfigKey is the key in the ConfigMap.
	MeshConfigKey = "mesh"
)

// Config is the part of a mesh configuration that this package reads. The zero value has Istio's
// defaults.
// https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig
type Config struct {
	// DynamicDNS reports whether sidecars resolve the Host header of http calls to unknown hosts
	// themselves (outboundTrafficPolicy.mode ALLOW_ANY_DYNAMIC_DNS, since Istio 1.31). In such a mesh,
	// http://HOST./ leaves in plain text while the target is not programmed, because the sinkhole
	// address has no effect.
	DynamicDNS bool
	// RegistryOnly reports whether sidecars reject calls to unknown hosts (outboundTrafficPolicy.mode
	// REGISTRY_ONLY). REGISTRY_ONLY is also the mode of a policy without one. Without a policy, the
	// mode is ALLOW_ANY.
	RegistryOnly bool
	// VirtualServiceExportTo, DestinationRuleExportTo and ServiceExportTo are the defaults for
	// exportTo (defaultVirtualServiceExportTo and so on). The one for Services also applies to
	// ServiceEntries. nil means all namespaces.
	VirtualServiceExportTo, DestinationRuleExportTo, ServiceExportTo []string
}

// ReadConfig parses a mesh configuration, the YAML of a MeshConfig. It ignores fields and enum
// values of newer Istio versions. It fails if Istio can't parse the text either. istiod then keeps
// its previous configuration.
func ReadConfig(text string) (Config, error) {
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return Config{}, fmt.Errorf("the mesh configuration is not YAML: %w", err)
	}
	if strings.TrimSpace(string(data)) == "null" {
		return Config{}, nil // an empty text, or one of comments only
	}
	var read meshconfig.MeshConfig
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, &read); err != nil {
		return Config{}, fmt.Errorf("the mesh configuration is not a MeshConfig: %w", err)
	}
	policy := read.GetOutboundTrafficPolicy()
	return Config{
		DynamicDNS: policy.GetMode() == meshconfig.MeshConfig_OutboundTrafficPolicy_ALLOW_ANY_DYNAMIC_DNS,
		RegistryOnly: policy != nil &&
			policy.GetMode() == meshconfig.MeshConfig_OutboundTrafficPolicy_REGISTRY_ONLY,
		VirtualServiceExportTo:  read.GetDefaultVirtualServiceExportTo(),
		DestinationRuleExportTo: read.GetDefaultDestinationRuleExportTo(),
		ServiceExportTo:         read.GetDefaultServiceExportTo(),
	}, nil
}
