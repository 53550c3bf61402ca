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
	// DefaultMeshConfigMap is the name of the ConfigMap. A control plane with a revision has istio-REVISION.
	DefaultMeshConfigMap = "istio"
	// MeshConfigKey is the key in the ConfigMap.
	MeshConfigKey = "mesh"
)

// DynamicDNS reports whether sidecars resolve the Host header of http calls to unknown hosts themselves, as a mesh
// configuration has it: the YAML of a MeshConfig with outboundTrafficPolicy.mode ALLOW_ANY_DYNAMIC_DNS (since Istio
// 1.31). In such a mesh http://HOST./ leaves in plain text while the target is not programmed, since the sinkhole
// address does not matter. Fields and enum values that a newer Istio knows are passed over. It fails if Istio could
// not read the text either: istiod then works with the configuration that it had before.
// https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-OutboundTrafficPolicy-Mode
func DynamicDNS(meshConfig string) (bool, error) {
	data, err := yaml.YAMLToJSON([]byte(meshConfig))
	if err != nil {
		return false, fmt.Errorf("the mesh configuration is not YAML: %w", err)
	}
	if strings.TrimSpace(string(data)) == "null" {
		return false, nil // an empty text, or one of comments only
	}
	var config meshconfig.MeshConfig
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, &config); err != nil {
		return false, fmt.Errorf("the mesh configuration is not a MeshConfig: %w", err)
	}
	return config.GetOutboundTrafficPolicy().GetMode() == meshconfig.MeshConfig_OutboundTrafficPolicy_ALLOW_ANY_DYNAMIC_DNS, nil
}
