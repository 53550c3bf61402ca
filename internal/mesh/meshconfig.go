package mesh

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	meshconfig "istio.io/api/mesh/v1alpha1"
	"sigs.k8s.io/yaml"
)

// Where istiod keeps the mesh configuration unless it is told otherwise.
const (
	// DefaultMeshConfigMap is the name of the ConfigMap. A control plane with a revision has
	// istio-REVISION.
	DefaultMeshConfigMap = "istio"
	// MeshConfigKey is the key in the ConfigMap.
	MeshConfigKey = "mesh"
)

// Config is what matters here of a mesh configuration. Its zero value is that of a mesh with
// Istio's own defaults.
// https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig
type Config struct {
	// DynamicDNS reports whether sidecars resolve the Host header of http calls to unknown hosts
	// themselves (outboundTrafficPolicy.mode ALLOW_ANY_DYNAMIC_DNS, since Istio 1.31). In such a mesh
	// http://HOST./ leaves in plain text while the target is not programmed, since the sinkhole
	// address does not matter.
	DynamicDNS bool
	// RegistryOnly reports whether sidecars refuse calls to unknown hosts (outboundTrafficPolicy.mode
	// REGISTRY_ONLY, which is also the mode of a policy that names none; without a policy it is
	// ALLOW_ANY).
	RegistryOnly bool
	// VirtualServiceExportTo, DestinationRuleExportTo and ServiceExportTo are the exportTo of objects
	// without one; that of Services is also that of ServiceEntries (defaultVirtualServiceExportTo and
	// so on). Default (nil): all namespaces.
	VirtualServiceExportTo, DestinationRuleExportTo, ServiceExportTo []string
}

// ReadConfig reads a mesh configuration, the YAML of a MeshConfig. Fields and enum values that a
// newer Istio knows are passed over. It fails if Istio could not read the text either: istiod then
// works with the configuration that it had before.
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
		DynamicDNS:              policy.GetMode() == meshconfig.MeshConfig_OutboundTrafficPolicy_ALLOW_ANY_DYNAMIC_DNS,
		RegistryOnly:            policy != nil && policy.GetMode() == meshconfig.MeshConfig_OutboundTrafficPolicy_REGISTRY_ONLY,
		VirtualServiceExportTo:  read.GetDefaultVirtualServiceExportTo(),
		DestinationRuleExportTo: read.GetDefaultDestinationRuleExportTo(),
		ServiceExportTo:         read.GetDefaultServiceExportTo(),
	}, nil
}
