package mesh

import (
	"fmt"
	"strconv"
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

// metadataDNSCapture is the variable that makes a sidecar answer the DNS queries of its Pod.
// https://istio.io/latest/docs/ops/configuration/traffic-management/dns-proxy/
const metadataDNSCapture = "ISTIO_META_DNS_CAPTURE"

// DNSCapture says whether sidecars answer DNS by default, as a mesh configuration has it: the YAML of a MeshConfig, in which
// defaultConfig.proxyMetadata sets ISTIO_META_DNS_CAPTURE. Without the setting they don't. Fields and enum values that a newer
// Istio knows are passed over. It fails when Istio couldn't read the text or the setting either: istiod then works with the
// configuration that it had before.
//
// Pods and namespaces can differ from the default, by the annotation proxy.istio.io/config and by ProxyConfig objects.
func DNSCapture(meshConfig string) (bool, error) {
	data, err := yaml.YAMLToJSON([]byte(meshConfig))
	if err != nil {
		return false, fmt.Errorf("the mesh configuration is no YAML: %w", err)
	}
	if strings.TrimSpace(string(data)) == "null" {
		return false, nil // an empty text, or one of comments only
	}
	var config meshconfig.MeshConfig
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, &config); err != nil {
		return false, fmt.Errorf("the mesh configuration is no MeshConfig: %w", err)
	}
	value, set := config.GetDefaultConfig().GetProxyMetadata()[metadataDNSCapture]
	if !set {
		return false, nil
	}
	// Istio's agent, its CNI plugin and istiod all read the value this way.
	on, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf(`defaultConfig.proxyMetadata.%s of the mesh configuration is %q; it has to be "true" or "false"`, metadataDNSCapture, value)
	}
	return on, nil
}
