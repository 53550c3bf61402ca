package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"istio.io/api/label"
)

// meshVariable names the mesh of a cluster that Start starts, one of Meshes. Default: the mesh of
// all tests, which has the newest Istio that test/tools builds, with Istio's default configuration.
const meshVariable = "MTLS_EGRESS_MESH"

// Modes of meshConfig.outboundTrafficPolicy.
const (
	AllowAny           = "ALLOW_ANY"
	RegistryOnly       = "REGISTRY_ONLY"
	AllowAnyDynamicDNS = "ALLOW_ANY_DYNAMIC_DNS"
)

// Mesh is a mesh that differs from the default one. The zero value is the default one.
type Mesh struct {
	// Name is the value of MTLS_EGRESS_MESH that selects the mesh.
	Name string
	// Description says in a phrase for a table what is different.
	Description string
	// Node is the argument of `go -C test/tools run . node` with which it prints the parts of a node
	// of this mesh. Empty: none, the parts are those of the default mesh.
	Node string
	// Outbound is the mode of meshConfig.outboundTrafficPolicy. Empty: not configured, which is
	// ALLOW_ANY.
	Outbound string
	// PlainSidecars reports whether sidecars are containers beside the app's unless a Pod asks for
	// another one.
	PlainSidecars bool

	// OneRotation reports whether sidecars take the first change of a mounted certificate alone:
	// https://github.com/istio/istio/issues/59912.
	OneRotation bool
	// SameConfiguration reports whether sidecars have the configuration that they have in the default
	// mesh: only where they run, how calls are redirected to them, or which istiod it is differs.
	SameConfiguration bool
	// Revisions are those of the control planes, side by side. The first one is the default of the
	// mesh. Empty: there is one control plane, without a revision.
	Revisions []string

	// values are further values of Istio's charts, in YAML, with the placeholders of manifests.
	values string
	// cni says that Istio's CNI plugin sets up the redirection, in place of the container istio-init.
	cni bool
}

// Meshes returns the meshes that MTLS_EGRESS_MESH can name.
func Meshes() []Mesh {
	return []Mesh{
		{
			Name:        "istio-1.30",
			Description: "Istio of April 2026, which became 1.30, with Envoy 1.38",
			Node:        "1.30",
			OneRotation: true,
		},
		{
			Name:              "plain-sidecars",
			Description:       "sidecars are containers beside the app's, which start at the same time",
			PlainSidecars:     true,
			SameConfiguration: true,
			values:            `env: {ENABLE_NATIVE_SIDECARS: "false"}`,
		},
		{
			Name:        "registry-only",
			Description: "`outboundTrafficPolicy.mode: REGISTRY_ONLY` for the whole mesh",
			Outbound:    RegistryOnly,
		},
		{
			Name:        "dns-capture",
			Description: "the sidecars answer DNS queries (`ISTIO_META_DNS_CAPTURE`)",
			values:      `meshConfig: {defaultConfig: {proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true"}}}`,
		},
		{
			// The profile has plain sidecars too, but values of our own win over it.
			Name:          "compatibility-1.25",
			Description:   "`compatibilityVersion: 1.25`, the oldest that this Istio has: its defaults, and plain sidecars",
			PlainSidecars: true,
			values:        "compatibilityVersion: \"1.25\"\nenv: {ENABLE_NATIVE_SIDECARS: \"false\"}",
		},
		{
			Name:        "dynamic-dns",
			Description: "`outboundTrafficPolicy.mode: ALLOW_ANY_DYNAMIC_DNS` for the whole mesh",
			Outbound:    AllowAnyDynamicDNS,
		},
		{
			Name:              "nftables",
			Description:       "the init container redirects with nftables rules (`global.nativeNftables`)",
			Node:              "nftables",
			SameConfiguration: true,
			values:            "global: {nativeNftables: true}",
		},
		{
			Name:              "istio-cni",
			Description:       "Istio's CNI plugin redirects, in place of an init container",
			Node:              "cni",
			SameConfiguration: true,
			values:            "pilot: {cni: {enabled: true}}\ncni: {cniBinDir: \"${CNI_BIN}\", cniConfDir: \"${CNI_CONF}\"}",
			cni:               true,
		},
		{
			Name:              "revisions",
			Description:       "two control planes with revisions, and namespaces of each",
			Revisions:         []string{"stable", "canary"},
			SameConfiguration: true,
			values:            "defaultRevision: stable",
		},
	}
}

// SelectedMesh returns the mesh that MTLS_EGRESS_MESH names.
func SelectedMesh() (Mesh, error) {
	name := os.Getenv(meshVariable)
	if name == "" {
		return Mesh{}, nil
	}
	if Given() != "" {
		return Mesh{}, fmt.Errorf("%s selects the mesh of a cluster that the tests start, and KUBECONFIG gives them another "+
			"cluster; unset one of them", meshVariable)
	}
	var names []string
	for _, mesh := range Meshes() {
		if mesh.Name == name {
			return mesh, nil
		}
		names = append(names, mesh.Name)
	}
	slices.Sort(names)
	return Mesh{}, fmt.Errorf("%s is %q; unset it, or set it to one of %s", meshVariable, name, strings.Join(names, ", "))
}

// Mode is that of meshConfig.outboundTrafficPolicy, also if the mesh doesn't configure it.
func (m Mesh) Mode() string {
	if m.Outbound == "" {
		return AllowAny
	}
	return m.Outbound
}

// MeshConfigMap is the name of the ConfigMap with the mesh configuration. With two control planes,
// it is that of the first.
func (m Mesh) MeshConfigMap() string { return "istio" + m.suffix() }

// InjectorConfigMap is the name of the ConfigMap with the injector's configuration. With two
// control planes, it is that of the first.
func (m Mesh) InjectorConfigMap() string { return "istio-sidecar-injector" + m.suffix() }

// suffix ends the names of what a control plane with a revision has.
func (m Mesh) suffix() string {
	if len(m.Revisions) == 0 {
		return ""
	}
	return "-" + m.Revisions[0]
}

// InjectionLabels are labels of a namespace in which Pods get sidecars. With two control planes,
// number decides which one it is.
func (m Mesh) InjectionLabels(number int) map[string]string {
	if len(m.Revisions) == 0 {
		return map[string]string{"istio-injection": "enabled"}
	}
	return map[string]string{label.IoIstioRev.Name: m.Revisions[number%len(m.Revisions)]}
}

// chartValues are the values of Istio's charts that the mesh has beside those of all meshes, in
// YAML.
func (m Mesh) chartValues() string {
	if m.Outbound == "" {
		return m.values
	}
	return "meshConfig: {outboundTrafficPolicy: {mode: " + m.Outbound + "}}\n" + m.values
}

// checkNode returns an error if a directory has the parts of a node of another mesh.
func (m Mesh) checkNode(directory string) error {
	if m.Node == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(directory, "kind-"+m.Node)); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the directory %s in %s has not the parts of the mesh %s; set it to what `go -C test/tools run . "+
			"node %s` prints", directory, assetsVariable, m.Name, m.Node)
	} else if err != nil {
		return err
	}
	return nil
}
