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
	// AnchorName is the name of the anchor, the ServiceEntry that makes the sidecars of a namespace
	// listen on the app ports.
	AnchorName = "mtls-egress"
	// MeshDomain is the parent domain of the hosts of generated objects. It has no DNS records.
	// Only the controller's objects use it, so Istio never merges them with other objects for a
	// partner's host. ICANN reserves the top-level domain internal for private use.
	MeshDomain = "mtls-egress.internal"
	// AnchorHost is the host of every anchor. No app calls it. It has one label below MeshDomain,
	// while a MeshHost has at least two.
	AnchorHost = "anchor." + MeshDomain
	// objectPrefix is the name prefix of all other objects of a target, and listenerPrefix that of
	// its listener. No host starts with a hyphen, so the names of two hosts never collide.
	objectPrefix   = "mtls-egress-"
	listenerPrefix = "mtls-egress--app."
	// volumePrefix is the name prefix of a target's credential volume, and caVolumePrefix that of
	// its CA volume. They differ before the host starts, so the names never collide.
	volumePrefix   = "mtls-egress-"
	caVolumePrefix = "mtls-ca-"
	// mountRoot is the parent directory of the credential mounts in the sidecar, one per target.
	// caMountRoot is the one of the CAs from ConfigMaps. Both are outside Istio's own certificate
	// paths.
	mountRoot   = "/etc/mtls-egress/"
	caMountRoot = "/etc/mtls-egress-ca/"
	// secretSuffix is the suffix of the default credential Secret name.
	secretSuffix = "-mtls-data"
	// hashLength is the number of hexadecimal digits (40 bits) that make a shortened name unique.
	hashLength = 10
)

// HostLabel returns the key of the label on Pods that call host. Kubernetes limits the name part of
// a label key to 63 characters, so longer hosts are shortened and get a hash.
func HostLabel(host string) string {
	return LabelHostPrefix + hashedName(host, validation.LabelValueMaxLength)
}

// MeshHost returns the host of the generated ServiceEntry and DestinationRule, for example
// external.system.com.mtls-egress.internal. It appears in the sidecar's cluster names, metrics and
// access logs. If the name would exceed the length of a DNS name, the host is truncated and
// followed by its hash as a label of digits. The last label of a host is never a number, so the
// name is unique.
func MeshHost(host string) string {
	return meshHost(host, MeshDomain)
}

// ListenerHost returns the host of the ServiceEntry that makes sidecars listen for plain calls to
// host, for example external.system.com.80.mtls-egress.internal. No app calls it. The last label of
// a host is never a number, so it never equals the MeshHost of another host.
func ListenerHost(host string, appPort int32) string {
	return meshHost(host, fmt.Sprintf("%d.%s", appPort, MeshDomain))
}

func meshHost(host, domain string) string {
	name := host + "." + domain
	if len(name) <= maxHostLength {
		return name
	}
	const digits = 20 // decimal digits of the largest uint64
	sum := sha256.Sum256([]byte(host))
	start := strings.TrimRight(host[:maxHostLength-len(domain)-digits-2], "-.")
	return fmt.Sprintf("%s.%0*d.%s", start, digits, binary.BigEndian.Uint64(sum[:8]), domain)
}

// IsMeshHost reports whether name is MeshDomain or a subdomain of it. Case and a trailing dot don't
// matter.
func IsMeshHost(name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name == MeshDomain || strings.HasSuffix(name, "."+MeshDomain)
}

// ObjectName returns the name of the Istio objects of host, except for its listener.
func ObjectName(host string) string {
	return hashedName(objectPrefix+host, validation.DNS1123SubdomainMaxLength)
}

// ListenerName returns the name of the ServiceEntry that makes sidecars listen for plain calls to
// host.
func ListenerName(host string) string {
	return hashedName(listenerPrefix+host, validation.DNS1123SubdomainMaxLength)
}

// ObjectHost returns the host of a generated object, including a listener, given the object's name.
// It returns false if the name is not one of a generated object, or is shortened because the host
// is very long.
func ObjectHost(name string) (host string, found bool) {
	host, found = strings.CutPrefix(name, listenerPrefix)
	if !found {
		host, found = strings.CutPrefix(name, objectPrefix)
	}
	return host, found && (ObjectName(host) == name || ListenerName(host) == name) && strings.Contains(host, ".")
}

// GatewayName returns the name of the objects with which an egress gateway passes connections on to
// host. It is a DNS label, because Istio requires one for a Gateway.
func GatewayName(host string) string {
	return hashedName("egress-"+dashed(host), validation.DNS1123LabelMaxLength)
}

// VolumeName returns the name of the Pod volume with host's credential. The name is a DNS label and
// unique per host.
func VolumeName(host string) string {
	return hashedName(volumePrefix+dashed(host), validation.DNS1123LabelMaxLength)
}

// CAVolumeName returns the name of the Pod volume with the server CA of host if it comes from a
// ConfigMap.
func CAVolumeName(host string) string {
	return hashedName(caVolumePrefix+dashed(host), validation.DNS1123LabelMaxLength)
}

// MountPath returns the sidecar directory with host's credential. Its files are the keys of the
// Secret.
func MountPath(host string) string {
	return mountRoot + host
}

// CAMountPath returns the sidecar directory with the server CA of host if it comes from a
// ConfigMap.
func CAMountPath(host string) string {
	return caMountRoot + host
}

// DefaultSecretName returns the credential Secret name that applies if none is set: the host
// without its last label, with dots replaced by dashes, plus -mtls-data. It can exceed the maximum
// length of a name; Resolve rejects that.
func DefaultSecretName(host string) string {
	return strings.ReplaceAll(host[:strings.LastIndexByte(host, '.')], ".", "-") + secretSuffix
}

// sameDefaultSecret reports whether DefaultSecretName is equal for two hosts. It allocates nothing:
// each admission compares all hosts of its namespace.
func sameDefaultSecret(one, other string) bool {
	end := strings.LastIndexByte(one, '.')
	if end != strings.LastIndexByte(other, '.') {
		return false
	}
	for i := range end {
		if one[i] != other[i] && (!isDotOrDash(one[i]) || !isDotOrDash(other[i])) {
			return false
		}
	}
	return true
}

func isDotOrDash(char byte) bool { return char == '.' || char == '-' }

// dashed replaces the dots of host so that two hosts never map to the same text. It doubles hyphens
// and replaces a dot with one hyphen. No label starts or ends with a hyphen, so a run of odd length
// is a dot and a run of even length consists of hyphens.
func dashed(host string) string {
	return strings.ReplaceAll(strings.ReplaceAll(host, "-", "--"), ".", "-")
}

// hashedName returns name if it has at most limit characters, or else a prefix of it with a hash of
// the whole name.
func hashedName(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	start := strings.TrimRight(name[:limit-hashLength-1], "-.")
	return start + "-" + hex.EncodeToString(sum[:])[:hashLength]
}
