package interception

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The annotations that Istio's injection template turns into arguments of istio-iptables.
// https://istio.io/latest/docs/reference/config/annotations/
const (
	Mode              = "sidecar.istio.io/interceptionMode"
	ExcludeInterfaces = "traffic.sidecar.istio.io/excludeInterfaces"
	ExcludePorts      = "traffic.sidecar.istio.io/excludeOutboundPorts"
	ExcludeRanges     = "traffic.sidecar.istio.io/excludeOutboundIPRanges"
	IncludePorts      = "traffic.sidecar.istio.io/includeOutboundPorts"
	IncludeRanges     = "traffic.sidecar.istio.io/includeOutboundIPRanges"
	// These two concern calls that come from a virtual machine in the Pod, but their values are
	// written into the same rules.
	RerouteInterfaces  = "istio.io/reroute-virtual-interfaces"
	KubeVirtInterfaces = "traffic.sidecar.istio.io/kubevirtInterfaces"
)

const (
	// Redirect is one of the modes in which istio-iptables writes rules for outbound calls.
	Redirect = "REDIRECT"
	// TProxy is the other.
	TProxy = "TPROXY"
	// Everything is the value of IncludeRanges that stands for every address.
	Everything = "*"
	// MainInterface is the interface through which a Pod reaches addresses that no other interface
	// serves.
	MainInterface = "eth0"
)

// Settings are the values that istio-iptables is called with, by the annotation that sets each.
type Settings map[string]string

// Defaults returns the settings of a mesh whose installation changes nothing.
func Defaults() Settings {
	return Settings{Mode: Redirect, IncludeRanges: Everything}
}

// Of returns the settings of a Pod: its annotations, and mesh where an annotation is missing. An
// empty annotation counts.
func Of(annotations map[string]string, mesh Settings) Settings {
	settings := Settings{}
	for _, name := range Names() {
		if value, annotated := annotations[name]; annotated {
			settings[name] = value
			continue
		}
		settings[name] = mesh[name]
	}
	return settings
}

// Names returns the annotations in the order in which istio-iptables writes their rules: of two
// rules that match, the first decides.
func Names() []string {
	return []string{Mode, ExcludeInterfaces, ExcludePorts, ExcludeRanges, IncludePorts, IncludeRanges, RerouteInterfaces, KubeVirtInterfaces}
}

// Intercepted reports whether the sidecar receives an app's TCP connection to address and port,
// which leaves through MainInterface. Values that Malformed lists can have any effect; the others
// have the one that istio-iptables gives them.
func Intercepted(annotations map[string]string, mesh Settings, address netip.Addr, port int32) bool {
	return len(Of(annotations, mesh).Obstacles(address, port)) == 0
}

// Obstacles returns the annotations, of Names, each of which alone keeps the connection to address
// and port from the sidecar. IncludeRanges stands for itself and IncludePorts: one of the two has
// to match.
func (s Settings) Obstacles(address netip.Addr, port int32) []string {
	var obstacles []string
	add := func(name string, keeps bool) {
		if keeps {
			obstacles = append(obstacles, name)
		}
	}
	add(Mode, s[Mode] != Redirect && s[Mode] != TProxy)
	add(ExcludeInterfaces, slices.Contains(List(s[ExcludeInterfaces]), MainInterface))
	add(ExcludePorts, hasPort(s[ExcludePorts], port))
	add(ExcludeRanges, covers(s[ExcludeRanges], address))
	add(IncludeRanges, s[IncludeRanges] != Everything && !covers(s[IncludeRanges], address) && !hasPort(s[IncludePorts], port))
	return obstacles
}

// Malformed returns the elements of the value of an annotation that are not what it is made of, so
// that Istio could refuse the Pod or write other rules than the value seems to ask for. iptables
// reads 0120 as octal, port 80, and Istio takes the value of IncludePorts over as it is, before
// 1.31 that of ExcludeInterfaces too.
func Malformed(name, value string) []string {
	var wellFormed func(string) bool
	switch name {
	case ExcludePorts, IncludePorts:
		wellFormed = isPort
	case IncludeRanges, ExcludeRanges:
		if name == IncludeRanges && value == Everything {
			return nil
		}
		wellFormed = isRange
	case ExcludeInterfaces, RerouteInterfaces, KubeVirtInterfaces:
		wellFormed = isInterface
	default:
		return nil
	}
	return slices.DeleteFunc(List(value), wellFormed)
}

// List splits a comma-separated value and drops blanks around elements, and empty elements.
func List(value string) []string {
	var elements []string
	for element := range strings.SplitSeq(value, ",") {
		if element = strings.TrimSpace(element); element != "" {
			elements = append(elements, element)
		}
	}
	return elements
}

// Covers reports whether the range that text writes holds address.
func Covers(text string, address netip.Addr) bool {
	prefix, err := netip.ParsePrefix(text)
	return err == nil && prefix.Contains(address)
}

func covers(ranges string, address netip.Addr) bool {
	return slices.ContainsFunc(List(ranges), func(text string) bool { return Covers(text, address) })
}

func hasPort(ports string, port int32) bool {
	return slices.Contains(List(ports), strconv.Itoa(int(port)))
}

// isPort reports whether text is a port in the only form that everything reads alike: decimal,
// without a zero before it.
func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && strconv.FormatUint(port, 10) == text
}

func isRange(text string) bool {
	_, err := netip.ParsePrefix(text)
	return err == nil
}

// isInterface follows Istio's own rule: a letter, then letters, digits, underscores, dots and
// hyphens, 15 characters in all. https://github.com/istio/istio/blob/master/pkg/util/net/ip.go
// (ValidateInterfaceNames)
func isInterface(text string) bool {
	const longest = 15
	letter := func(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
	for i := range len(text) {
		if c := text[i]; !letter(c) && (i == 0 || !strings.ContainsRune("0123456789_.-", rune(c))) {
			return false
		}
	}
	return len(text) <= longest
}

// Variables returns the environment variables by which istio-iptables leaves out calls that its
// arguments would include. The injection template hands over those in a ProxyConfig's
// proxyMetadata.
// https://github.com/istio/istio/blob/master/tools/istio-iptables/pkg/constants/constants.go
func Variables() []string {
	return []string{
		"CLEANUP_ONLY", "CNI_MODE", "DRY_RUN", "ISTIO_EXCLUDE_INTERFACES", "ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE", "ISTIO_OUTBOUND_OWNER_GROUPS",
		"ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "NETWORK_NAMESPACE", "PROXY_GID", "SKIP_RULE_APPLY",
	}
}
