package mutate

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/target"
)

// The annotations that tell Istio which of a Pod's outbound calls go through the sidecar.
// https://istio.io/latest/docs/reference/config/annotations/
const (
	annotationIncludePorts     = "traffic.sidecar.istio.io/includeOutboundPorts"
	annotationExcludePorts     = "traffic.sidecar.istio.io/excludeOutboundPorts"
	annotationIncludeRanges    = "traffic.sidecar.istio.io/includeOutboundIPRanges"
	annotationExcludeRanges    = "traffic.sidecar.istio.io/excludeOutboundIPRanges"
	annotationInterceptionMode = "sidecar.istio.io/interceptionMode"
	// annotationProxyConfig is YAML, whose interceptionMode holds where the annotation above is missing.
	annotationProxyConfig       = "proxy.istio.io/config"
	annotationExcludeInterfaces = "traffic.sidecar.istio.io/excludeInterfaces"
	// annotationTemplates names the injection templates; without sidecar among them there may be none.
	annotationTemplates = "inject.istio.io/templates"
	sidecarTemplate     = "sidecar"
	noInterception      = "NONE"
	// mainInterface is what a container's first network interface is called.
	mainInterface = "eth0"
	everything    = "*"
)

// checkTraffic refuses annotations that lead the calls to targets past the sidecar, each with the value that would work. It
// warns of those that keep only the app's own https calls from the sidecar.
func checkTraffic(annotations map[string]string, targets []target.Target, at *field.Path) (errs field.ErrorList, warnings []string) {
	refuse := func(name, value, problem string) {
		errs = append(errs, target.Invalid(at.Key(name), value, problem))
	}
	ports, addresses := appPorts(targets), sinkholes(targets)
	if mode := annotations[annotationInterceptionMode]; mode == noInterception {
		refuse(annotationInterceptionMode, mode, "NONE keeps the sidecar from seeing any call; write REDIRECT or take it away")
	}
	if value, ok := annotations[annotationProxyConfig]; ok && proxyConfigSwitchesOff(value) {
		refuse(annotationProxyConfig, value, "interceptionMode: NONE keeps the sidecar from seeing any call; write REDIRECT or take it out")
	}
	if value := annotations[annotationExcludeInterfaces]; slices.Contains(list(value), mainInterface) {
		kept, _ := split(value, func(name string) bool { return name == mainInterface })
		refuse(annotationExcludeInterfaces, value, "keeps the sidecar from seeing any call through "+mainInterface+"; "+wouldWork(kept))
	}
	if value, ok := annotations[annotationTemplates]; ok && !slices.Contains(list(value), sidecarTemplate) {
		warnings = append(warnings, fmt.Sprintf("%s: %q doesn't name the template %s; if Istio puts no sidecar into the Pod, its calls to %s fail",
			annotationTemplates, target.Excerpt(value), sidecarTemplate, hostsWhere(targets, func(target.Target) bool { return true })))
	}
	if value, ok := annotations[annotationExcludePorts]; ok {
		if kept, lost := split(value, func(port string) bool { return slices.Contains(ports, port) }); len(lost) > 0 {
			refuse(annotationExcludePorts, value, fmt.Sprintf("keeps the sidecar from seeing the call to %s; %s", portHosts(targets, lost), wouldWork(kept)))
		}
		for _, t := range targets {
			if port := strconv.Itoa(int(t.Port)); slices.Contains(list(value), port) {
				warnings = append(warnings, fmt.Sprintf("%s: the app's own calls to https://%s would end at %s, as the sidecar doesn't see port %s; take %s out if the app makes such calls",
					annotationExcludePorts, t.Host, t.Address(), port, port))
			}
		}
	}
	if value, ok := annotations[annotationIncludePorts]; ok {
		if missing := notIncluded(value, ports); len(missing) > 0 {
			refuse(annotationIncludePorts, value, fmt.Sprintf("leaves out the call to %s; %s", portHosts(targets, missing), wouldWork(append(list(value), missing...))))
		}
	}
	if value, ok := annotations[annotationIncludeRanges]; ok {
		if missing := uncovered(value, addresses); len(missing) > 0 {
			refuse(annotationIncludeRanges, value, fmt.Sprintf("leaves out the sinkhole addresses of %s; %s", addressHosts(targets, missing), wouldWork(append(list(value), hostPrefixes(missing)...))))
		}
	}
	if value, ok := annotations[annotationExcludeRanges]; ok {
		kept, lost := split(value, func(text string) bool { return coversAny(text, addresses) })
		if len(lost) > 0 {
			refuse(annotationExcludeRanges, value, fmt.Sprintf("keeps the sidecar from seeing the sinkhole addresses of %s; %s",
				addressHosts(targets, coveredBy(lost, addresses)), wouldWork(kept)))
		}
	}
	return errs, warnings
}

// proxyConfigSwitchesOff reads the one field of Istio's ProxyConfig that matters here. What can't be read is Istio's to refuse.
func proxyConfigSwitchesOff(value string) bool {
	var config struct {
		InterceptionMode string `json:"interceptionMode"`
	}
	err := yaml.Unmarshal([]byte(value), &config)
	return err == nil && config.InterceptionMode == noInterception
}

func wouldWork(values []string) string {
	if len(values) == 0 {
		return "take the annotation away"
	}
	return fmt.Sprintf("write %q", strings.Join(values, ","))
}

// list splits a comma-separated value and drops empty elements, as Istio does.
func list(value string) []string {
	var elements []string
	for element := range strings.SplitSeq(value, ",") {
		if element = strings.TrimSpace(element); element != "" {
			elements = append(elements, element)
		}
	}
	return elements
}

// split parts the elements of value into those that matches accepts and the rest.
func split(value string, matches func(string) bool) (rest, matched []string) {
	for _, element := range list(value) {
		if matches(element) {
			matched = append(matched, element)
			continue
		}
		rest = append(rest, element)
	}
	return rest, matched
}

func appPorts(targets []target.Target) []string {
	var ports []string
	for _, t := range targets {
		if port := strconv.Itoa(int(t.AppPort)); !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports
}

func sinkholes(targets []target.Target) []netip.Addr {
	addresses := make([]netip.Addr, len(targets))
	for i, t := range targets {
		addresses[i] = t.Address()
	}
	return addresses
}

func notIncluded(value string, ports []string) []string {
	included := list(value)
	if slices.Contains(included, everything) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(ports), func(port string) bool { return slices.Contains(included, port) })
}

func uncovered(value string, addresses []netip.Addr) []netip.Addr {
	ranges := list(value)
	return slices.DeleteFunc(slices.Clone(addresses), func(address netip.Addr) bool {
		return slices.ContainsFunc(ranges, func(text string) bool { return covers(text, address) })
	})
}

func coversAny(text string, addresses []netip.Addr) bool {
	return slices.ContainsFunc(addresses, func(address netip.Addr) bool { return covers(text, address) })
}

func coveredBy(ranges []string, addresses []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addresses), func(address netip.Addr) bool {
		return !slices.ContainsFunc(ranges, func(text string) bool { return covers(text, address) })
	})
}

// covers says whether the range that text writes holds address. Istio refuses a text that is no range; here it holds
// nothing.
func covers(text string, address netip.Addr) bool {
	if text == everything {
		return true
	}
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return prefix.Contains(address)
	}
	single, err := netip.ParseAddr(text)
	return err == nil && single == address
}

func hostPrefixes(addresses []netip.Addr) []string {
	prefixes := make([]string, len(addresses))
	for i, address := range addresses {
		prefixes[i] = netip.PrefixFrom(address, address.BitLen()).String()
	}
	return prefixes
}

func portHosts(targets []target.Target, ports []string) string {
	return hostsWhere(targets, func(t target.Target) bool { return slices.Contains(ports, strconv.Itoa(int(t.AppPort))) })
}

func addressHosts(targets []target.Target, addresses []netip.Addr) string {
	return hostsWhere(targets, func(t target.Target) bool { return slices.Contains(addresses, t.Address()) })
}

func hostsWhere(targets []target.Target, matches func(target.Target) bool) string {
	var hosts []string
	for _, t := range targets {
		if matches(t) {
			hosts = append(hosts, t.Host)
		}
	}
	return strings.Join(hosts, ", ")
}
