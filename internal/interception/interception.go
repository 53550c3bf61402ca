package interception

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"istio.io/api/annotation"
)

// The annotations that Istio's injection template passes to istio-iptables. The last two are for
// calls from a virtual machine in the Pod, but their values end up in the same rules.
//
// https://istio.io/latest/docs/reference/config/annotations/
//
//nolint:gochecknoglobals // short names for those of istio.io/api, which are variables too
var (
	Mode               = annotation.SidecarInterceptionMode.Name
	ExcludeInterfaces  = annotation.SidecarTrafficExcludeInterfaces.Name
	ExcludePorts       = annotation.SidecarTrafficExcludeOutboundPorts.Name
	ExcludeRanges      = annotation.SidecarTrafficExcludeOutboundIPRanges.Name
	IncludePorts       = annotation.SidecarTrafficIncludeOutboundPorts.Name
	IncludeRanges      = annotation.SidecarTrafficIncludeOutboundIPRanges.Name
	RerouteInterfaces  = annotation.IoIstioRerouteVirtualInterfaces.Name
	KubeVirtInterfaces = annotation.SidecarTrafficKubevirtInterfaces.Name
)

const (
	// Redirect is one of the two modes in which istio-iptables intercepts outbound calls.
	Redirect = "REDIRECT"
	// TProxy is the other mode.
	TProxy = "TPROXY"
	// Everything is the value of IncludeRanges for all addresses.
	Everything = "*"
	// MainInterface is the Pod's default interface.
	MainInterface = "eth0"
)

// Settings holds the arguments of istio-iptables, by annotation.
type Settings map[string]string

// Defaults returns the settings of Istio's default installation.
func Defaults() Settings {
	return Settings{Mode: Redirect, IncludeRanges: Everything}
}

// Of returns the settings of a Pod: its annotations, with the mesh settings for missing ones. An
// empty annotation is not missing.
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

// Names returns the annotations in the order of their istio-iptables rules. The first matching rule
// decides.
func Names() []string {
	return []string{Mode, ExcludeInterfaces, ExcludePorts, ExcludeRanges, IncludePorts, IncludeRanges,
		RerouteInterfaces, KubeVirtInterfaces}
}

// Intercepted reports whether the sidecar intercepts an app's TCP connection to address and port
// through MainInterface. Values that Malformed returns can have any effect. All other values have
// the same effect as in istio-iptables.
func Intercepted(annotations map[string]string, mesh Settings, address netip.Addr, port int32) bool {
	return len(Of(annotations, mesh).Obstacles(address, port)) == 0
}

// Obstacles returns those of Names that on their own prevent the interception of a connection to
// address and port. IncludeRanges also represents IncludePorts, because one of the two must match.
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
	add(IncludeRanges,
		s[IncludeRanges] != Everything && !covers(s[IncludeRanges], address) && !hasPort(s[IncludePorts], port))
	return obstacles
}

// Malformed returns the invalid elements of an annotation value. For these, Istio could reject the
// Pod or write unexpected rules. For example, iptables reads 0120 as octal (port 80). Istio copies
// the value of IncludePorts unchanged, and before 1.31 also that of ExcludeInterfaces.
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

// List splits a comma-separated value. It trims whitespace and drops empty elements.
func List(value string) []string {
	var elements []string
	for element := range strings.SplitSeq(value, ",") {
		if element = strings.TrimSpace(element); element != "" {
			elements = append(elements, element)
		}
	}
	return elements
}

// Covers reports whether text is an IP range that contains address.
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

// isPort reports whether text is a port in the only unambiguous form: decimal without leading
// zeros.
func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && strconv.FormatUint(port, 10) == text
}

func isRange(text string) bool {
	_, err := netip.ParsePrefix(text)
	return err == nil
}

// isInterface follows Istio's rule: a letter, then letters, digits, underscores, dots and hyphens,
// at most 15 characters (ValidateInterfaceNames in
// https://github.com/istio/istio/blob/master/pkg/util/net/ip.go).
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

// Variables returns the environment variables with which istio-iptables excludes calls that its
// arguments include. The injection template passes on those in proxyMetadata of a ProxyConfig.
//
// https://github.com/istio/istio/blob/master/tools/istio-iptables/pkg/constants/constants.go
func Variables() []string {
	return []string{
		"CLEANUP_ONLY",
		"CNI_MODE",
		"DRY_RUN",
		"ISTIO_EXCLUDE_INTERFACES",
		"ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE",
		"ISTIO_OUTBOUND_OWNER_GROUPS",
		"ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE",
		"NETWORK_NAMESPACE",
		"PROXY_GID",
		"SKIP_RULE_APPLY",
	}
}

// Without returns ranges that cover the same addresses except the excluded ones. A range without
// any of them is unchanged, and an invalid one is left out.
func Without(ranges string, excluded ...netip.Addr) []string {
	var kept []string
	for _, text := range List(ranges) {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		if !slices.ContainsFunc(excluded, prefix.Contains) {
			kept = append(kept, text)
			continue
		}
		for _, part := range split(prefix.Masked(), excluded) {
			kept = append(kept, part.String())
		}
	}
	return kept
}

// split returns the largest ranges within prefix that contain none of the excluded addresses.
func split(prefix netip.Prefix, excluded []netip.Addr) []netip.Prefix {
	switch {
	case !slices.ContainsFunc(excluded, prefix.Contains):
		return []netip.Prefix{prefix}
	case prefix.IsSingleIP():
		return nil
	}
	lower := netip.PrefixFrom(prefix.Addr(), prefix.Bits()+1)
	bytes := prefix.Addr().AsSlice()
	bytes[prefix.Bits()/8] |= 0x80 >> (prefix.Bits() % 8)
	address, _ := netip.AddrFromSlice(bytes) // it has the length of an address
	return append(split(lower, excluded), split(netip.PrefixFrom(address, prefix.Bits()+1), excluded)...)
}

// ReadArguments returns the settings in the arguments of istio-iptables, as Istio's injection
// template (files/injection-template.yaml of its chart) writes them: a flag of one letter, then its
// value.
func ReadArguments(args []string) Settings {
	settings := Settings{}
	for name, flag := range map[string]string{
		Mode: "-m", IncludeRanges: "-i", ExcludeRanges: "-x", IncludePorts: "-q", ExcludePorts: "-o",
		ExcludeInterfaces: "-c", KubeVirtInterfaces: "-k",
	} {
		if n := slices.Index(args, flag); n >= 0 && n+1 < len(args) {
			settings[name] = args[n+1]
		}
	}
	return Of(nil, settings)
}
