package egress

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	// AnchorName is the name of a namespace's anchor, the ServiceEntry that makes the sidecar listen
	// on the app ports.
	AnchorName = "mtls-egress"
	// MeshDomain is the domain below which the generated objects name hosts. It has no DNS records;
	// only the controller's objects use it, so that Istio never mixes them with other objects for a
	// partner's own host. ICANN reserves the top-level domain internal for private use.
	MeshDomain = "mtls-egress.internal"
	// AnchorHost is the host of every anchor. No app calls it. It has one label below MeshDomain,
	// where a MeshHost has at least two.
	AnchorHost = "anchor." + MeshDomain
	// objectPrefix starts the name of every other object that is generated for a target, and
	// listenerPrefix that of its listener. No host starts with a hyphen, so no two hosts have objects
	// of one name.
	objectPrefix   = "mtls-egress-"
	listenerPrefix = "mtls-egress--app."
	// volumePrefix starts the name of the credential volume of a target, caVolumePrefix that of its CA
	// volume. They differ before the first place where a host could make them equal.
	volumePrefix   = "mtls-egress-"
	caVolumePrefix = "mtls-ca-"
	// mountRoot is the directory of the sidecar that holds a directory per target; caMountRoot holds
	// the CAs that come from ConfigMaps. Both are outside Istio's own certificate paths.
	mountRoot   = "/etc/mtls-egress/"
	caMountRoot = "/etc/mtls-egress-ca/"
	// secretSuffix ends the default name of a credential Secret.
	secretSuffix = "-mtls-data"
	// hashLength is the number of hexadecimal digits that make a shortened name unique: 40 bits.
	hashLength = 10
)

// HostLabel returns the key of the label that Pods of host's target carry. The name part of a label
// key has at most 63 characters (Kubernetes), so longer hosts are shortened and get a hash.
func HostLabel(host string) string {
	return LabelHostPrefix + hashedName(host, validation.LabelValueMaxLength)
}

// MeshHost returns the host name under which the mesh knows host: the one of the generated
// ServiceEntry and DestinationRule, as in external.system.com.mtls-egress.internal. Clusters,
// metrics and access logs of the sidecar show it. If the name would be longer than a DNS name, the
// host is cut and its hash follows as a label of digits. Since the last label of a host is never a
// number, no other host has that name.
func MeshHost(host string) string {
	return meshHost(host, MeshDomain)
}

// ListenerHost returns the host of the ServiceEntry that makes sidecars listen for host's plain
// calls, as in external.system.com.80.mtls-egress.internal. No app calls it. Since the last label
// of a host is never a number, it is no other host's MeshHost.
func ListenerHost(host string, appPort int32) string {
	return meshHost(host, fmt.Sprintf("%d.%s", appPort, MeshDomain))
}

func meshHost(host, domain string) string {
	name := host + "." + domain
	if len(name) <= maxHostLength {
		return name
	}
	const digits = 20 // of the largest uint64
	sum := sha256.Sum256([]byte(host))
	start := strings.TrimRight(host[:maxHostLength-len(domain)-digits-2], "-.")
	return fmt.Sprintf("%s.%0*d.%s", start, digits, binary.BigEndian.Uint64(sum[:8]), domain)
}

// IsMeshHost reports whether name is MeshDomain or a name below it, in any case and with or without
// a trailing dot.
func IsMeshHost(name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name == MeshDomain || strings.HasSuffix(name, "."+MeshDomain)
}

// ObjectName returns the name of the Istio objects that are generated for host, but for its
// listener.
func ObjectName(host string) string {
	return hashedName(objectPrefix+host, validation.DNS1123SubdomainMaxLength)
}

// ListenerName returns the name of the ServiceEntry that makes sidecars listen for host's plain
// calls.
func ListenerName(host string) string {
	return hashedName(listenerPrefix+host, validation.DNS1123SubdomainMaxLength)
}

// ObjectHost returns the host for which objects of this name are generated, its listener among
// them, and whether there is one. The name of a very long host does not say.
func ObjectHost(name string) (host string, found bool) {
	host, found = strings.CutPrefix(name, listenerPrefix)
	if !found {
		host, found = strings.CutPrefix(name, objectPrefix)
	}
	return host, found && (ObjectName(host) == name || ListenerName(host) == name) && strings.Contains(host, ".")
}

// VolumeName returns the name of the volume that holds host's credential in a Pod. It is a DNS
// label; no two hosts share one.
func VolumeName(host string) string {
	return hashedName(volumePrefix+dashed(host), validation.DNS1123LabelMaxLength)
}

// CAVolumeName returns the name of the volume that holds the CA of host's server when a ConfigMap
// has it.
func CAVolumeName(host string) string {
	return hashedName(caVolumePrefix+dashed(host), validation.DNS1123LabelMaxLength)
}

// MountPath returns the directory of the sidecar that holds host's credential; its files are the
// Secret's keys.
func MountPath(host string) string {
	return mountRoot + host
}

// CAMountPath returns the directory of the sidecar that holds the CA of host's server when a
// ConfigMap has it.
func CAMountPath(host string) string {
	return caMountRoot + host
}

// DefaultSecretName returns the name of the Secret that holds host's credential when nobody named
// one: the host without its last label, dots to dashes, plus -mtls-data. It may be longer than a
// Secret's name can be; Resolve refuses that.
func DefaultSecretName(host string) string {
	return strings.ReplaceAll(host[:strings.LastIndexByte(host, '.')], ".", "-") + secretSuffix
}

// dashed writes a host without dots, such that no two hosts become one: a hyphen is doubled, a dot
// becomes one hyphen. As no label starts or ends with a hyphen, odd runs are dots and even runs are
// hyphens.
func dashed(host string) string {
	return strings.ReplaceAll(strings.ReplaceAll(host, "-", "--"), ".", "-")
}

// hashedName returns name when it has at most limit characters, else its start and a hash of the
// whole.
func hashedName(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	start := strings.TrimRight(name[:limit-hashLength-1], "-.")
	return start + "-" + hex.EncodeToString(sum[:])[:hashLength]
}
