package target

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	// AnchorName is the name of a namespace's anchor, the ServiceEntry that makes the sidecar listen on the app ports.
	AnchorName = "mtls-egress"
	// AnchorHost is the host of every anchor. Nobody calls it and no DNS knows it.
	AnchorHost = "anchor.mtls-egress.internal"
	// objectPrefix starts the name of every other object that is generated for a target.
	objectPrefix = "mtls-egress-"
	// volumePrefix starts the name of the credential volume of a target, caVolumePrefix that of its CA volume. They differ
	// before the first place where a host could make them equal.
	volumePrefix   = "mtls-egress-"
	caVolumePrefix = "mtls-ca-"
	// mountRoot is the directory of the sidecar that holds a directory per target; caMountRoot holds the CAs that come from
	// ConfigMaps. Both are outside Istio's own certificate paths.
	mountRoot   = "/etc/mtls-egress/"
	caMountRoot = "/etc/mtls-egress-ca/"
	// secretSuffix ends the default name of a credential Secret.
	secretSuffix = "-mtls-data"
	// hashLength is the number of hexadecimal digits that make a shortened name unique: 40 bits.
	hashLength = 10
)

// HostLabel returns the key of the label that Pods of host's target carry. The name part of a label key has at most 63
// characters (Kubernetes), so longer hosts are shortened and get a hash.
func HostLabel(host string) string {
	return LabelHostPrefix + hashedName(host, validation.LabelValueMaxLength)
}

// ObjectName returns the name of the Istio objects that are generated for host.
func ObjectName(host string) string {
	return hashedName(objectPrefix+host, validation.DNS1123SubdomainMaxLength)
}

// VolumeName returns the name of the volume that holds host's credential in a Pod. It is a DNS label; no two hosts share
// one.
func VolumeName(host string) string {
	return hashedName(volumePrefix+dashed(host), validation.DNS1123LabelMaxLength)
}

// CAVolumeName returns the name of the volume that holds the CA of host's server when a ConfigMap has it.
func CAVolumeName(host string) string {
	return hashedName(caVolumePrefix+dashed(host), validation.DNS1123LabelMaxLength)
}

// MountPath returns the directory of the sidecar that holds host's credential; its files are the Secret's keys.
func MountPath(host string) string {
	return mountRoot + host
}

// CAMountPath returns the directory of the sidecar that holds the CA of host's server when a ConfigMap has it.
func CAMountPath(host string) string {
	return caMountRoot + host
}

// DefaultSecretName returns the name of the Secret that holds host's credential when nobody named one: the host without its
// last label, dots to dashes, plus -mtls-data. It may be longer than a Secret's name can be; Resolve refuses that.
func DefaultSecretName(host string) string {
	return strings.ReplaceAll(host[:strings.LastIndexByte(host, '.')], ".", "-") + secretSuffix
}

// dashed writes a host without dots, such that no two hosts become one: a hyphen is doubled, a dot becomes one hyphen. As no
// label starts or ends with a hyphen, odd runs are dots and even runs are hyphens.
func dashed(host string) string {
	return strings.ReplaceAll(strings.ReplaceAll(host, "-", "--"), ".", "-")
}

// hashedName returns name when it has at most limit characters, else its start and a hash of the whole.
func hashedName(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	start := strings.TrimRight(name[:limit-hashLength-1], "-.")
	return start + "-" + hex.EncodeToString(sum[:])[:hashLength]
}
