package check

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/mesh"
)

// handWritten is the part of the input that the rules for Istio look at: the objects that this
// project didn't generate, and how they belong together.
type handWritten struct {
	*World

	entries []entry
	starts  []start
	routes  []route

	entriesOf map[string][]entry
	startsOf  map[string][]start
	rulesOf   map[string][]destinationRule
	routesOf  map[string][]route
	routersOf map[string][]virtualService
	// used are the subsets that any route leads to, as host/subset.
	used map[string]bool
	// certificates are the names of Certificates of cert-manager by namespace/Secret.
	certificates map[string]string
	podsOf       map[string][]*Pods
	// selection caches the Pods of a namespace and a selector.
	selection map[string][]*Pods
	// secrets are the Secrets by namespace/name.
	secrets map[string]*corev1.Secret
}

type (
	destinationRule = Typed[*networkingv1.DestinationRule]
	virtualService  = Typed[*networkingv1.VirtualService]
	serviceEntry    = Typed[*networkingv1.ServiceEntry]
)

// entry is one host of a ServiceEntry.
type entry struct {
	serviceEntry

	host string
}

// start is one place in a DestinationRule that starts TLS to an external host.
type start struct {
	destinationRule

	host string
	// path leads to the TLS settings.
	path []any
	tls  *networking.ClientTLSSettings
	// subset is "" for the host itself. port is 0 for all ports.
	subset string
	port   uint32
	// pool are the connection settings that apply together with the TLS settings.
	pool *networking.ConnectionPoolSettings
}

// route is one destination of an HTTP route to an external host.
type route struct {
	virtualService

	http *networking.HTTPRoute
	// path leads to the HTTP route, and destinationPath to the destination in it.
	path, destinationPath []any
	host                  string
	destination           *networking.Destination
	// ports are those of the host to which calls go. They are empty if the input doesn't show them.
	ports []uint32
}

// handWritten returns the hand-written part of the input. It is computed once.
func (w *World) handWritten() *handWritten {
	if w.byHand == nil {
		w.byHand = newHandWritten(w)
	}
	return w.byHand
}

func newHandWritten(w *World) *handWritten {
	only := *w
	only.DestinationRules = withoutGenerated(w.DestinationRules)
	only.VirtualServices = withoutGenerated(w.VirtualServices)
	only.ServiceEntries = withoutGenerated(w.ServiceEntries)
	h := &handWritten{
		World: &only, entriesOf: map[string][]entry{}, startsOf: map[string][]start{},
		rulesOf: map[string][]destinationRule{}, routesOf: map[string][]route{},
		routersOf: map[string][]virtualService{}, podsOf: map[string][]*Pods{},
		selection: map[string][]*Pods{}, secrets: map[string]*corev1.Secret{},
		used: map[string]bool{}, certificates: certificatesIn(w.Objects),
	}
	h.leaveOut(w.undecoded)
	h.index()
	return h
}

// leaveOut removes the objects for the hosts of objects that can't be decoded, because their parts
// would seem to be missing. One whose hosts can't be read may be for every host.
func (h *handWritten) leaveOut(undecoded []manifests.Object) {
	for _, object := range undecoded {
		hosts := hostsIn(object)
		concerned := func(host string) bool { return len(hosts) == 0 || slices.Contains(hosts, mesh.NormalHost(host)) }
		h.DestinationRules = slices.DeleteFunc(h.DestinationRules, func(rule destinationRule) bool {
			return concerned(rule.Value.Spec.Host)
		})
		h.VirtualServices = slices.DeleteFunc(h.VirtualServices, func(router virtualService) bool {
			return slices.ContainsFunc(router.Value.Spec.Hosts, concerned)
		})
		h.ServiceEntries = slices.DeleteFunc(h.ServiceEntries, func(e serviceEntry) bool {
			return slices.ContainsFunc(e.Value.Spec.Hosts, concerned)
		})
	}
}

// hostsIn returns the hosts of an Istio object that can't be decoded, as far as they are text.
func hostsIn(object manifests.Object) []string {
	spec, _ := object.Content["spec"].(map[string]any)
	hosts, _ := spec["hosts"].([]any)
	var found []string
	for _, each := range append(slices.Clone(hosts), spec["host"], spec["hosts"]) {
		if host, isText := each.(string); isText {
			found = append(found, mesh.NormalHost(host))
		}
	}
	return found
}

// withoutGenerated returns the objects that the controller didn't write, and that are not what
// render prints.
func withoutGenerated[T metav1.Object](objects []Typed[T]) []Typed[T] {
	return slices.DeleteFunc(slices.Clone(objects), func(object Typed[T]) bool {
		_, named := egress.ObjectHost(object.Value.GetName())
		return named || object.Value.GetName() == egress.AnchorName || mesh.Owned(object.Value)
	})
}

func (h *handWritten) index() {
	for _, serviceEntry := range h.ServiceEntries {
		for _, host := range serviceEntry.Value.Spec.Hosts {
			each := entry{serviceEntry: serviceEntry, host: mesh.NormalHost(host)}
			h.entries = append(h.entries, each)
			h.entriesOf[each.host] = append(h.entriesOf[each.host], each)
		}
	}
	for _, rule := range h.DestinationRules {
		host := mesh.NormalHost(rule.Value.Spec.Host)
		h.rulesOf[host] = append(h.rulesOf[host], rule)
		if !h.external(host) {
			continue
		}
		for _, each := range startsIn(rule) {
			h.starts = append(h.starts, each)
			h.startsOf[host] = append(h.startsOf[host], each)
		}
	}
	for _, router := range h.VirtualServices {
		for _, host := range router.Value.Spec.Hosts {
			h.routersOf[mesh.NormalHost(host)] = append(h.routersOf[mesh.NormalHost(host)], router)
		}
		for _, destination := range destinationsIn(router) {
			h.used[mesh.NormalHost(destination.GetHost())+"/"+destination.GetSubset()] = true
		}
		for _, each := range h.routesIn(router) {
			if h.external(each.host) {
				h.routes = append(h.routes, each)
				h.routesOf[each.host] = append(h.routesOf[each.host], each)
			}
		}
	}
	for i := range h.Pods {
		namespace := h.Pods[i].Location.Namespace
		h.podsOf[namespace] = append(h.podsOf[namespace], &h.Pods[i])
	}
	for _, secret := range h.Secrets {
		h.secrets[secret.Location.Namespace+"/"+secret.Value.Name] = secret.Value
	}
}

// external reports whether the host is outside of the cluster, as far as its name says.
func (h *handWritten) external(host string) bool {
	return strings.Contains(host, ".") && !strings.HasSuffix(host, ".svc") && !strings.Contains(host, ".svc.") &&
		!strings.HasSuffix(host, ".local") || host == "*"
}

// startsIn returns the places in a DestinationRule that start TLS with an external host.
func startsIn(rule destinationRule) []start {
	return slices.DeleteFunc(settingsIn(rule), func(s start) bool { return !isOrigination(s.tls) })
}

// settingsIn returns all TLS settings of a DestinationRule.
func settingsIn(rule destinationRule) []start {
	host := mesh.NormalHost(rule.Value.Spec.Host)
	var starts []start
	add := func(settings *networking.ClientTLSSettings, pool *networking.ConnectionPoolSettings, subset string,
		port uint32, path ...any,
	) {
		if settings != nil {
			starts = append(starts, start{
				destinationRule: rule, host: host, path: path, tls: settings, subset: subset, port: port, pool: pool,
			})
		}
	}
	policy := rule.Value.Spec.TrafficPolicy
	add(policy.GetTls(), policy.GetConnectionPool(), "", 0, "spec", "trafficPolicy", "tls")
	for n, level := range policy.GetPortLevelSettings() {
		add(level.GetTls(), level.GetConnectionPool(), "", level.GetPort().GetNumber(),
			"spec", "trafficPolicy", "portLevelSettings", n, "tls")
	}
	for i, subset := range rule.Value.Spec.Subsets {
		own := subset.GetTrafficPolicy()
		pool := own.GetConnectionPool()
		if pool == nil {
			pool = policy.GetConnectionPool()
		}
		add(own.GetTls(), pool, subset.GetName(), 0, "spec", "subsets", i, "trafficPolicy", "tls")
		for n, level := range own.GetPortLevelSettings() {
			add(level.GetTls(), level.GetConnectionPool(), subset.GetName(), level.GetPort().GetNumber(),
				"spec", "subsets", i, "trafficPolicy", "portLevelSettings", n, "tls")
		}
	}
	return starts
}

// isOrigination reports whether the settings start TLS with an external host.
func isOrigination(settings *networking.ClientTLSSettings) bool {
	return settings != nil &&
		(settings.Mode == networking.ClientTLSSettings_SIMPLE || settings.Mode == networking.ClientTLSSettings_MUTUAL)
}

// at returns the path to a field of the TLS settings.
func (s start) at(field string) []any { return append(slices.Clip(s.path), field) }

// hasClientFiles reports whether the settings name a file of a client certificate.
func (s start) hasClientFiles() bool { return s.tls.ClientCertificate != "" || s.tls.PrivateKey != "" }

// presents reports whether the settings present a client certificate.
func (s start) presents() bool { return s.tls.Mode == networking.ClientTLSSettings_MUTUAL }

// selector returns the labels of the Pods that the DestinationRule selects; nil for all.
func selectorOf(rule destinationRule) map[string]string {
	return rule.Value.Spec.GetWorkloadSelector().GetMatchLabels()
}

// settingsFor returns the TLS settings of a rule for a subset and a port, as Istio merges them: a
// port replaces the whole policy, and a subset what it sets.
// https://github.com/istio/istio/blob/1.30.3/pilot/pkg/networking/util/util.go
func settingsFor(rule destinationRule, subset string, port uint32) *networking.ClientTLSSettings {
	policy := rule.Value.Spec.TrafficPolicy
	settings := policy.GetTls()
	for _, level := range policy.GetPortLevelSettings() {
		if level.GetPort().GetNumber() == port {
			settings = level.GetTls()
		}
	}
	for _, each := range rule.Value.Spec.Subsets {
		if each.GetName() != subset || subset == "" {
			continue
		}
		if own := each.GetTrafficPolicy().GetTls(); own != nil {
			settings = own
		}
		for _, level := range each.GetTrafficPolicy().GetPortLevelSettings() {
			if level.GetPort().GetNumber() == port {
				settings = level.GetTls()
			}
		}
	}
	return settings
}

// startsTLS reports whether a rule starts TLS with any of its settings.
func startsTLS(rule destinationRule) bool { return len(startsIn(rule)) > 0 }

// routesIn returns the destinations of the HTTP routes of a VirtualService.
func routesIn(router virtualService) []route {
	var routes []route
	for i, http := range router.Value.Spec.Http {
		for n, destination := range http.GetRoute() {
			path := []any{"spec", "http", i}
			routes = append(routes, route{
				virtualService: router, http: http, path: path,
				destinationPath: append(slices.Clip(path), "route", n, "destination"),
				host:            mesh.NormalHost(destination.GetDestination().GetHost()), destination: destination.GetDestination(),
			})
		}
	}
	return routes
}

// routesIn returns the destinations of the HTTP routes of a VirtualService, with their ports.
func (h *handWritten) routesIn(router virtualService) []route {
	routes := routesIn(router)
	for n := range routes {
		routes[n].ports = h.portsOf(routes[n])
	}
	return routes
}

// portsOf returns the ports of the host to which the route leads. Without a port in the
// destination, Istio takes the only port of the host or, if it has several, the port that the app
// called.
// https://github.com/istio/istio/blob/1.30.3/pilot/pkg/networking/core/route/route.go
func (h *handWritten) portsOf(r route) []uint32 {
	if number := r.destination.GetPort().GetNumber(); number != 0 {
		return []uint32{number}
	}
	var all, http []uint32
	for _, e := range h.entriesFor(r.host) {
		for _, port := range e.Value.Spec.Ports {
			all = append(all, port.Number)
			if mesh.IsHTTP(port.Protocol) && r.catches(port.Number) {
				http = append(http, port.Number)
			}
		}
	}
	slices.Sort(all)
	if only := slices.Compact(all); len(only) == 1 {
		return only
	}
	return http
}

// destinationsIn returns all destinations of a VirtualService: of its routes for HTTP, TLS and TCP.
func destinationsIn(router virtualService) []*networking.Destination {
	var destinations []*networking.Destination
	for _, http := range router.Value.Spec.Http {
		for _, each := range http.GetRoute() {
			destinations = append(destinations, each.GetDestination())
		}
	}
	for _, tls := range router.Value.Spec.Tls {
		for _, each := range tls.GetRoute() {
			destinations = append(destinations, each.GetDestination())
		}
	}
	for _, tcp := range router.Value.Spec.Tcp {
		for _, each := range tcp.GetRoute() {
			destinations = append(destinations, each.GetDestination())
		}
	}
	return destinations
}

// inSidecars reports whether sidecars follow the route, and not only gateways.
func (r route) inSidecars() bool {
	if len(r.http.Match) == 0 {
		return onMesh(r.Value.Spec.Gateways)
	}
	return slices.ContainsFunc(r.http.Match, func(match *networking.HTTPMatchRequest) bool {
		if len(match.GetGateways()) > 0 {
			return slices.Contains(match.GetGateways(), "mesh")
		}
		return onMesh(r.Value.Spec.Gateways)
	})
}

// onMesh reports whether a VirtualService with these gateways applies to sidecars.
func onMesh(gateways []string) bool { return len(gateways) == 0 || slices.Contains(gateways, "mesh") }

// sidecarRoutes returns the routes of sidecars to the host.
func (h *handWritten) sidecarRoutes(host string) []route {
	return slices.DeleteFunc(slices.Clone(h.routesOf[host]), func(r route) bool { return !r.inSidecars() })
}

// onlyInGateways reports whether the input has routes to the host, and all are of gateways.
func (h *handWritten) onlyInGateways(host string) bool {
	return len(h.routesOf[host]) > 0 && len(h.sidecarRoutes(host)) == 0
}

// entriesFor returns the ServiceEntries that name the host or match it with a wildcard.
func (h *handWritten) entriesFor(host string) []entry {
	found := slices.Clone(h.entriesOf[host])
	for _, each := range h.entries {
		if strings.HasPrefix(each.host, "*") && each.host != host && mesh.Covers(each.host, host) {
			found = append(found, each)
		}
	}
	return found
}

// entriesUnder returns the ServiceEntries that the host of a DestinationRule applies to.
func (h *handWritten) entriesUnder(host string) []entry {
	if !strings.HasPrefix(host, "*") {
		return h.entriesFor(host)
	}
	return slices.DeleteFunc(slices.Clone(h.entries), func(e entry) bool { return !mesh.Covers(host, e.host) })
}

// port returns the port of the ServiceEntry, nil if it has none with the number.
func (e entry) port(number uint32) *networking.ServicePort {
	index := e.portIndex(number)
	if index < 0 {
		return nil
	}
	return e.Value.Spec.Ports[index]
}

func (e entry) portIndex(number uint32) int {
	return slices.IndexFunc(e.Value.Spec.Ports, func(port *networking.ServicePort) bool {
		return port.GetNumber() == number
	})
}

// isTLS reports whether Istio passes TLS of the app through on a port of the protocol.
func isTLS(protocol string) bool {
	return slices.Contains([]string{"HTTPS", "TLS"}, strings.ToUpper(protocol))
}

// carriesTLS reports whether apps use a port of the host with TLS of their own. If the input has no
// ServiceEntry for the host, that is port 443.
func (h *handWritten) carriesTLS(host string, number uint32) bool {
	entries := h.entriesFor(host)
	if len(entries) == 0 {
		return number == 443
	}
	return slices.ContainsFunc(entries, func(e entry) bool {
		port := e.port(number)
		return port != nil && (isTLS(port.Protocol) || port.Number == 443 && !mesh.IsHTTP(port.Protocol))
	})
}

// leadsTo reports whether the route leads to what the settings apply to.
func (s start) leadsTo(r route) bool {
	return s.subset == r.destination.GetSubset() && (s.port == 0 || len(r.ports) == 0 || slices.Contains(r.ports, s.port))
}

// selects reports whether a selector selects the Pods. An empty selector selects all.
func selects(selector map[string]string, pods *Pods) bool {
	return labels.SelectorFromSet(selector).Matches(labels.Set(pods.Value.Labels))
}

// selected returns the Pods of the input that a rule selects. The slice must not be changed.
func (h *handWritten) selected(rule destinationRule) []*Pods {
	namespace, selector := rule.Location.Namespace, selectorOf(rule)
	key := namespace + "/" + labelsText(selector)
	if known, found := h.selection[key]; found {
		return known
	}
	var selected []*Pods
	for _, pods := range h.podsOf[namespace] {
		if selects(selector, pods) {
			selected = append(selected, pods)
		}
	}
	h.selection[key] = selected
	return selected
}

// inNamespace returns " in namespace NAME", or "" if the namespace isn't known.
func inNamespace(namespace string) string {
	if namespace == "" {
		return ""
	}
	return " in namespace " + namespace
}
