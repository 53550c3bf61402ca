package mutate

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"istio.io/api/annotation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/interception"
)

// sidecarTemplate is the injection template of the sidecar. If the annotation with the templates
// doesn't list it, Istio may inject no sidecar.
const sidecarTemplate = "sidecar"

// traffic combines the annotations of a Pod that configure the interception of outbound calls with
// its targets.
type traffic struct {
	annotations map[string]string
	settings    interception.Settings
	targets     []egress.Target
	at          *field.Path
}

// checkTraffic rejects annotations that exclude the calls to targets from interception, and
// suggests a value that works. It warns of annotations that exclude only the app's own https calls.
// mesh are the settings for Pods without annotations. If they exclude calls because of their
// address, included has annotations for the Pod that include them, and change nothing else.
func checkTraffic(
	annotations map[string]string,
	targets []egress.Target,
	mesh interception.Settings,
	at *field.Path,
) (included map[string]string, warnings []Warning, errs field.ErrorList) {
	config, err := readIstioConfig(annotations)
	if err != nil {
		errs = append(errs,
			egress.Invalid(at.Key(annotation.ProxyConfig.Name), annotations[annotation.ProxyConfig.Name], err.Error()))
	}
	if mesh == nil {
		mesh = interception.Defaults()
	}
	mesh = maps.Clone(mesh)
	if config.mode != "" {
		mesh[interception.Mode] = config.mode
	}
	t := traffic{annotations: annotations, settings: interception.Of(annotations, mesh), targets: targets, at: at}
	errs = append(errs, t.malformed()...)
	calls, ownTLSCalls := t.obstacles(appCall), t.obstacles(ownTLSCall)
	for _, name := range interception.Names() {
		if affected := calls[name]; len(affected) > 0 {
			_, annotated := annotations[name]
			value, possible := t.include(name, affected)
			switch {
			case !annotated && possible:
				if included == nil {
					included = map[string]string{}
				}
				included[name] = value
			case !annotated && name == interception.ExcludePorts:
				errs = append(errs, t.meshExcludesPort(affected))
			default:
				errs = append(errs, t.invalid(name, affected))
			}
			continue
		}
		for _, own := range ownTLSCalls[name] {
			warnings = append(warnings, Warning{ReasonTrafficDoubt, at.Key(name).String(), ownTLSWarning(name, own)})
		}
	}
	if value, ok := annotations[annotation.InjectTemplates.Name]; ok &&
		!slices.Contains(interception.List(value), sidecarTemplate) {
		warnings = append(
			warnings,
			warningf(ReasonTrafficDoubt, at.Key(annotation.InjectTemplates.Name),
				"%s: %q doesn't include the template %s; if Istio doesn't inject a sidecar, calls to %s fail",
				annotation.InjectTemplates.Name, egress.Excerpt(value), sidecarTemplate, hostList(targets)),
		)
	}
	return included, append(warnings, config.warnings(at)...), errs
}

// include returns the value of the annotation that has the effect of the mesh's setting, except
// that the calls to targets are intercepted. Only settings about addresses can be changed without
// an effect on other calls.
func (t traffic) include(name string, affected []egress.Target) (value string, possible bool) {
	switch name {
	case interception.IncludeRanges:
		return strings.Join(append(interception.List(t.settings[name]), prefixes(affected)...), ","), true
	case interception.ExcludeRanges:
		return strings.Join(interception.Without(t.settings[name], addresses(affected)...), ","), true
	}
	return "", false
}

func addresses(targets []egress.Target) []netip.Addr {
	all := make([]netip.Addr, len(targets))
	for i, t := range targets {
		all[i] = t.Address()
	}
	return all
}

// meshExcludesPort is the error for a port that the mesh's configuration excludes.
func (t traffic) meshExcludesPort(affected []egress.Target) *field.Error {
	rest := strings.Join(without(t.settings[interception.ExcludePorts], isPortOf(affected)), ",")
	return field.Required(t.at.Key(interception.ExcludePorts), fmt.Sprintf("the mesh's configuration excludes the "+
		"call to %s from the sidecar (excludeOutboundPorts: %q); write %q here, or have the app call another port "+
		"(appPort in the EgressTarget)", hostList(affected), t.settings[interception.ExcludePorts], rest))
}

// appCall returns the port of the calls that get mutual TLS. ownTLSCall returns the port of the
// app's own https calls to the same host.
func appCall(t egress.Target) int32    { return t.AppPort }
func ownTLSCall(t egress.Target) int32 { return t.Port }

// obstacles returns the annotations that exclude calls at port from interception, with the affected
// targets.
func (t traffic) obstacles(port func(egress.Target) int32) map[string][]egress.Target {
	var obstacles map[string][]egress.Target
	for _, one := range t.targets {
		for _, annotation := range t.settings.Obstacles(one.Address(), port(one)) {
			if obstacles == nil {
				obstacles = map[string][]egress.Target{}
			}
			obstacles[annotation] = append(obstacles[annotation], one)
		}
	}
	return obstacles
}

// malformed rejects values that istio-iptables could interpret in an unexpected way.
func (t traffic) malformed() field.ErrorList {
	var errs field.ErrorList
	for _, name := range interception.Names() {
		value := t.annotations[name]
		if elements := interception.Malformed(name, value); len(elements) > 0 {
			kind, example := elementOf(name)
			errs = append(errs, egress.Invalid(t.at.Key(name), value, fmt.Sprintf(
				"has %q, which is not %s that istio-iptables accepts; write %s", egress.Excerpt(elements[0]), kind,
				example)))
		}
	}
	return errs
}

func elementOf(annotation string) (kind, example string) {
	switch annotation {
	case interception.IncludePorts, interception.ExcludePorts:
		return "a port", "decimal numbers such as 8080"
	case interception.IncludeRanges, interception.ExcludeRanges:
		return "an IP range", "ranges such as 10.0.0.0/8"
	default:
		return "an interface", "names such as net1"
	}
}

func (t traffic) invalid(name string, affected []egress.Target) *field.Error {
	value, annotated := t.annotations[name]
	refuse := func(problem string) *field.Error { return egress.Invalid(t.at.Key(name), value, problem) }
	switch name {
	case interception.Mode:
		if !annotated {
			return egress.Invalid(t.at.Key(annotation.ProxyConfig.Name), t.annotations[annotation.ProxyConfig.Name],
				"interceptionMode: NONE disables the interception of calls; write REDIRECT or remove the field")
		}
		if value != noInterception {
			return refuse("is not a mode that Istio supports; write REDIRECT or remove the annotation")
		}
		return refuse("NONE disables the interception of calls; write REDIRECT or remove the annotation")
	case interception.ExcludeInterfaces:
		return refuse("excludes all calls through " + interception.MainInterface + " from the sidecar; " +
			suggest(without(value, func(name string) bool { return name == interception.MainInterface })))
	case interception.ExcludePorts:
		return refuse(
			fmt.Sprintf("excludes the call to %s from the sidecar; %s", hostList(affected),
				suggest(without(value, isPortOf(affected)))),
		)
	case interception.ExcludeRanges:
		return refuse(
			fmt.Sprintf("excludes the sinkhole addresses of %s from the sidecar; %s", hostList(affected),
				suggest(without(value, coversOneOf(affected)))),
		)
	default:
		return refuse(
			fmt.Sprintf("doesn't include the sinkhole addresses of %s; %s", hostList(affected),
				suggest(append(interception.List(value), prefixes(affected)...))),
		)
	}
}

func ownTLSWarning(name string, t egress.Target) string {
	if name == interception.ExcludePorts {
		return fmt.Sprintf(
			"%s: the app's own calls to https://%s would be dropped at %s, because the sidecar doesn't intercept "+
				"port %d; remove %d if the app makes such calls", name, t.Host, t.Address(), t.Port, t.Port)
	}
	return fmt.Sprintf(
		"%s: the app's own calls to https://%s would be dropped at %s, because the sidecar doesn't intercept port %d "+
			"of that address; add %s if the app makes such calls", name, t.Host, t.Address(), t.Port, prefix(t))
}

func suggest(values []string) string {
	if len(values) == 0 {
		return "remove the annotation"
	}
	return fmt.Sprintf("write %q", strings.Join(values, ","))
}

// without returns the elements of value that matches rejects.
func without(value string, matches func(string) bool) []string {
	return slices.DeleteFunc(interception.List(value), matches)
}

func isPortOf(targets []egress.Target) func(string) bool {
	return func(port string) bool {
		return slices.ContainsFunc(targets, func(t egress.Target) bool { return strconv.Itoa(int(t.AppPort)) == port })
	}
}

func coversOneOf(targets []egress.Target) func(string) bool {
	return func(text string) bool {
		return slices.ContainsFunc(targets,
			func(t egress.Target) bool { return interception.Covers(text, t.Address()) })
	}
}

func prefixes(targets []egress.Target) []string {
	texts := make([]string, len(targets))
	for i, t := range targets {
		texts[i] = prefix(t)
	}
	return texts
}

// prefix returns the single-address range of the target's sinkhole address.
func prefix(t egress.Target) string {
	return netip.PrefixFrom(t.Address(), t.Address().BitLen()).String()
}

func hostList(targets []egress.Target) string {
	hosts := make([]string, len(targets))
	for i, t := range targets {
		hosts[i] = t.Host
	}
	return strings.Join(hosts, ", ")
}
