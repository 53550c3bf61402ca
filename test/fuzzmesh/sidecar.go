package fuzzmesh

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/networking/core"
	"istio.io/istio/pilot/pkg/networking/util"
	kubeservice "istio.io/istio/pilot/pkg/serviceregistry/kube"
	"istio.io/istio/pilot/pkg/simulation"
	"istio.io/istio/pilot/pkg/xds/endpoints"
	"istio.io/istio/pilot/test/xdstest"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/constants"
	istiomesh "istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/config/schema/resource"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// revision is the one of the control plane. Istio reads objects without a revision and those with
// this one.
const revision = "default"

// podIP is the address of the Pod behind each Service of a world.
const podIP = "10.1.0.7"

// control is Istio's control plane in a world.
type control struct {
	t     *testing.T
	world World
	core  *core.ConfigGenTest
}

// start starts Istio's generator in w.
func start(t *testing.T, w World) control {
	m := istiomesh.DefaultMeshConfig()
	mode := meshconfig.MeshConfig_OutboundTrafficPolicy_Mode_value[w.Mesh.Mode]
	m.OutboundTrafficPolicy = &meshconfig.MeshConfig_OutboundTrafficPolicy{
		Mode: meshconfig.MeshConfig_OutboundTrafficPolicy_Mode(mode),
	}
	m.DefaultVirtualServiceExportTo = w.Mesh.VirtualServiceExportTo
	m.DefaultDestinationRuleExportTo = w.Mesh.DestinationRuleExportTo
	m.DefaultServiceExportTo = w.Mesh.ServiceExportTo
	options := core.TestOptions{MeshConfig: m}
	for _, object := range slices.Concat(w.Ours, w.Theirs) {
		if readable(object) && !isGateway(object) {
			options.Configs = append(options.Configs, convert(object))
		}
	}
	for _, each := range w.Services {
		service := kubeservice.ConvertService(*each, nil, constants.DefaultClusterLocalDomain, "",
			constants.DefaultClusterLocalDomain)
		options.Services = append(options.Services, service)
		for _, port := range service.Ports {
			options.Instances = append(options.Instances, &model.ServiceInstance{Service: service, ServicePort: port,
				Endpoint: &model.IstioEndpoint{
					Addresses: []string{podIP}, EndpointPort: uint32(port.Port), ServicePortName: port.Name,
					Namespace: each.Namespace,
				}})
		}
	}
	options.Configs = append(options.Configs, gatewayConfigs(t, w, options)...)
	return control{t: t, world: w, core: core.NewConfigGenTest(t, options)}
}

// readable reports whether a control plane without a name reads object. Istio filters by the label
// before its generator.
func readable(object mesh.Object) bool {
	asked, set := object.GetLabels()["istio.io/rev"]
	return !set || asked == revision
}

func schemaOf(object mesh.Object) (resource.Schema, config.Spec) {
	switch object := object.(type) {
	case *networkingv1.VirtualService:
		return collections.VirtualService, &object.Spec
	case *networkingv1.DestinationRule:
		return collections.DestinationRule, &object.Spec
	case *networkingv1.ServiceEntry:
		return collections.ServiceEntry, &object.Spec
	case *networkingv1.Sidecar:
		return collections.Sidecar, &object.Spec
	}
	panic(fmt.Sprintf("%T", object)) // no world has others
}

// convert returns object as Istio's generator reads it.
func convert(object mesh.Object) config.Config {
	schema, spec := schemaOf(object)
	return config.Config{
		Meta: config.Meta{
			GroupVersionKind:  schema.GroupVersionKind(),
			Name:              object.GetName(),
			Namespace:         object.GetNamespace(),
			Labels:            object.GetLabels(),
			Annotations:       object.GetAnnotations(),
			CreationTimestamp: object.GetCreationTimestamp().Time,
		},
		Spec: config.DeepCopy(spec),
	}
}

// valid reports whether Istio's own admission takes object.
func valid(object mesh.Object) bool {
	if isGateway(object) {
		return true
	}
	schema, _ := schemaOf(object)
	_, err := schema.ValidateConfig(convert(object))
	return err == nil
}

// Pod is a Pod of a world.
type Pod struct {
	Name, Namespace string
	Labels          map[string]string
}

// caller returns a Pod of the targets, and neighbors the Pods that ask for none of them.
func caller(targets ...Target) Pod {
	pod := Pod{Name: "caller", Namespace: ownNamespace, Labels: map[string]string{"app": "shop",
		egress.LabelInjected: egress.LabelValue}}
	for _, t := range targets {
		pod.Labels[egress.HostLabel(t.Host)] = egress.LabelValue
	}
	return pod
}

func neighbors() []Pod {
	return []Pod{
		{Name: "neighbor", Namespace: ownNamespace, Labels: map[string]string{"app": "shop"}},
		{Name: "outsider", Namespace: otherNamespace, Labels: map[string]string{"app": "shop"}},
	}
}

// asks reports whether the Pod is one of a target.
func (p Pod) asks(t egress.Target) bool {
	return p.Labels[egress.HostLabel(t.Host)] != ""
}

// sidecar is what the sidecar of a Pod was sent.
type sidecar struct {
	control
	pod      Pod
	proxy    *model.Proxy
	sim      *simulation.Simulation
	clusters map[string]*cluster.Cluster
	names    map[string]string
}

// sidecar generates the configuration of the Pod's sidecar.
func (c control) sidecar(pod Pod) *sidecar {
	proxy := c.core.SetupProxy(&model.Proxy{
		ID:              pod.Name + "." + pod.Namespace,
		ConfigNamespace: pod.Namespace,
		Labels:          pod.Labels,
		Metadata: &model.NodeMetadata{
			Namespace: pod.Namespace, Labels: pod.Labels, IstioVersion: "1.31.0", ClusterID: "",
			DNSCapture: model.StringBool(c.world.Mesh.DNSCapture),
		},
	})
	s := &sidecar{control: c, pod: pod, proxy: proxy, sim: simulation.NewSimulationFromConfigGen(c.t, c.core, proxy),
		clusters: map[string]*cluster.Cluster{}}
	for _, each := range s.sim.Clusters {
		s.clusters[each.GetName()] = each
	}
	s.sim.Routes = c.routes(proxy, s.sim.Listeners)
	s.sim.Listeners = everyAddress(s.sim.Listeners)
	if c.world.Mesh.DNSCapture {
		s.names = map[string]string{}
		for name, info := range c.core.ConfigGen.BuildNameTable(proxy, c.core.PushContext()).GetTable() {
			// Istio lists several in any order.
			s.names[name] = slices.Min(info.GetIps())
		}
	}
	return s
}

// everyAddress returns listeners such that each has one address: the simulator knows of no others.
func everyAddress(listeners []*listener.Listener) []*listener.Listener {
	var each []*listener.Listener
	for _, l := range listeners {
		each = append(each, l)
		for _, additional := range l.GetAdditionalAddresses() {
			other := proto.CloneOf(l)
			other.Address = additional.GetAddress()
			each = append(each, other)
		}
	}
	return each
}

// Call is a call of a Pod.
type Call struct {
	// Scheme is http, https for the app's own TLS, or tcp for bytes of another protocol.
	Scheme string
	// Address and Port are where the connection goes, Host is the Host header or the server name.
	Address string
	Port    int
	Host    string
}

func (c Call) String() string {
	return fmt.Sprintf("%s to %s:%d as %s", c.Scheme, c.Address, c.Port, cmp.Or(c.Host, "nothing"))
}

// End is one way in which a call can end.
type End struct {
	// Answer is what the sidecar answers by itself: "" where the call goes on.
	Answer string
	// To are the addresses that the call goes to; where TLS is nil it leaves as the app sent it.
	To  []string
	TLS *TLS
	// Cluster and Settings say what else decides about the call: the name, and all that is set for
	// it.
	Cluster, Settings string
}

// TLS is what a sidecar wraps a call in.
type TLS struct {
	SNI, Certificate, CA string
	Names                []string
}

func (e End) String() string {
	switch {
	case e.Answer != "":
		return "ends in the sidecar: " + e.Answer
	case e.TLS == nil:
		return fmt.Sprintf("leaves as it is to %v by %s", e.To, e.Cluster)
	default:
		return fmt.Sprintf("leaves in TLS %+v to %v by %s", *e.TLS, e.To, e.Cluster)
	}
}

// routes returns the routes of the listeners. Envoy asks for each once, also if several listeners
// have it, as those of a ServiceEntry with several addresses do. Istio's simulation asks for each
// of them, and gets an empty one the second time.
func (c control) routes(proxy *model.Proxy, listeners []*listener.Listener) []*route.RouteConfiguration {
	names := slices.Compact(slices.Sorted(slices.Values(core.ExtractRoutesFromListeners(listeners))))
	resources, _ := c.core.ConfigGen.BuildHTTPRoutes(proxy, &model.PushRequest{Push: c.core.PushContext()}, names)
	var routes []*route.RouteConfiguration
	for _, resource := range resources {
		configuration := &route.RouteConfiguration{}
		if err := resource.GetResource().UnmarshalTo(configuration); err != nil {
			c.t.Fatal(err)
		}
		routes = append(routes, configuration)
	}
	return routes
}

// ends returns all the ways in which call can end, depending on its path and its other headers.
func (s *sidecar) ends(call Call) []End {
	input := simulation.Call{Address: call.Address, Port: call.Port, CallMode: simulation.CallModeOutbound,
		Protocol: simulation.HTTP}
	switch call.Scheme {
	case "http":
		// Envoy compares hosts in lower case.
		input.HostHeader = strings.ToLower(call.Host)
	case "https":
		input.TLS, input.Sni = simulation.TLS, strings.ToLower(call.Host)
		input.Protocol = simulation.TCP
		input.Alpn = "http/1.1"
	case "tcp":
		input.Protocol = simulation.TCP
	}
	result := s.sim.Run(input)
	switch {
	case result.Error != nil:
		return []End{{Answer: "refused"}}
	case result.VirtualHostMatched != "":
		return s.routed(call, result)
	default:
		return s.tcp(call, result)
	}
}

// routed returns the ends of the routes that a call can match: up to the first that matches all.
func (s *sidecar) routed(call Call, result simulation.Result) []End {
	configuration := xdstest.ExtractRouteConfigurations(s.sim.Routes)[result.RouteConfigMatched]
	if result.RouteConfigMatched == "" {
		configuration = xdstest.ExtractHTTPConnectionManager(s.t, s.chain(result)).GetRouteConfig()
	}
	i := slices.IndexFunc(configuration.GetVirtualHosts(),
		func(host *route.VirtualHost) bool { return host.GetName() == result.VirtualHostMatched })
	var ends []End
	for _, r := range configuration.GetVirtualHosts()[i].GetRoutes() {
		ends = append(ends, s.follow(call, r)...)
		if match := r.GetMatch(); match.GetPrefix() == "/" &&
			len(match.GetHeaders())+len(match.GetQueryParameters()) == 0 {
			return ends
		}
	}
	return append(ends, End{Answer: "refused"})
}

func (s *sidecar) follow(call Call, r *route.Route) []End {
	action := r.GetRoute()
	switch {
	case r.GetName() == util.BlackHole:
		return []End{{Answer: "refused"}}
	case action == nil:
		return []End{{Answer: fmt.Sprintf("%T %v%v", r.GetAction(), r.GetDirectResponse().GetStatus(),
			r.GetRedirect().GetHostRedirect())}}
	}
	names := []string{action.GetCluster()}
	if weighted := action.GetWeightedClusters(); weighted != nil {
		names = nil
		for _, each := range weighted.GetClusters() {
			names = append(names, each.GetName())
		}
	}
	for _, mirror := range action.GetRequestMirrorPolicies() {
		names = append(names, mirror.GetCluster())
	}
	var ends []End
	for _, name := range names {
		for _, end := range s.reach(call, name) {
			end.Settings = strings.TrimSpace(end.Settings + " " + settings(r))
			ends = append(ends, end)
		}
	}
	return ends
}

// settings are what a route does to a call beside leading it.
func settings(r *route.Route) string {
	switch r.GetName() {
	case util.Passthrough, util.AllowAnyDynamicDNS, util.BlackHole:
		return ""
	}
	r = proto.CloneOf(r)
	r.Name, r.Metadata, r.Decorator = "", nil, nil
	return r.String()
}

// tcp returns the ends of a connection that the sidecar doesn't read.
func (s *sidecar) tcp(call Call, result simulation.Result) []End {
	if result.ClusterMatched != "" {
		return s.reach(call, result.ClusterMatched)
	}
	var ends []End
	for _, each := range xdstest.ExtractTCPProxy(s.t, s.chain(result)).GetWeightedClusters().GetClusters() {
		ends = append(ends, s.reach(call, each.GetName())...)
	}
	return ends
}

// chain returns the filter chain that a call matched.
func (s *sidecar) chain(result simulation.Result) *listener.FilterChain {
	l := xdstest.ExtractListener(result.ListenerMatched, s.sim.Listeners)
	for _, chain := range l.GetFilterChains() {
		if chain.GetName() == result.FilterChainMatched {
			return chain
		}
	}
	return l.GetDefaultFilterChain()
}

// reach returns what becomes of call in a cluster.
func (s *sidecar) reach(call Call, name string) []End {
	c := s.clusters[name]
	switch {
	case name == util.BlackHoleCluster:
		return []End{{Answer: "refused"}}
	case c == nil:
		return []End{{Answer: "refused", Settings: "no cluster"}}
	}
	end := End{Cluster: name, Settings: clusterSettings(c)}
	switch {
	case c.GetType() == cluster.Cluster_ORIGINAL_DST:
		// All of these do the same: the call goes where the app sent it.
		end.To, end.Settings = []string{s.address(call.Address)}, ""
	case c.GetClusterType() != nil:
		host, _, _ := strings.Cut(call.Host, ":")
		end.To = []string{s.address(host)}
	default:
		end.To = s.endpoints(c)
	}
	var ends []End
	for _, tls := range s.tls(c) {
		end.TLS = tls
		ends = append(ends, end)
	}
	return ends
}

// endpoints returns the addresses of a cluster, those that Istio sends apart among them.
func (s *sidecar) endpoints(c *cluster.Cluster) []string {
	assignment := c.GetLoadAssignment()
	if c.GetType() == cluster.Cluster_EDS {
		builder := endpoints.NewEndpointBuilder(c.GetName(), s.proxy, s.core.PushContext())
		assignment = builder.BuildClusterLoadAssignment(s.core.Env().EndpointIndex)
	}
	var addresses []string
	for _, locality := range assignment.GetEndpoints() {
		for _, each := range locality.GetLbEndpoints() {
			addresses = append(addresses, s.endpoint(each))
		}
	}
	slices.Sort(addresses)
	return addresses
}

func (s *sidecar) endpoint(e *endpoint.LbEndpoint) string {
	socket := e.GetEndpoint().GetAddress().GetSocketAddress()
	return fmt.Sprintf("%s:%d", s.address(socket.GetAddress()), socket.GetPortValue())
}

const (
	// nowhere stands for the addresses that are not routed: the sinkholes, and the anchor's
	// endpoint.
	nowhere = "an address that is not routed"
	// anchorEndpoint is the endpoint of the anchor.
	anchorEndpoint = "192.0.2.1"
)

// address returns what Envoy makes of a name or an address: it asks the Pod's /etc/hosts first.
func (s *sidecar) address(text string) string {
	for _, t := range s.world.Targets {
		if s.pod.asks(t.Target) && strings.EqualFold(text, t.Host) || sinkholeOf(t, text) {
			return nowhere
		}
	}
	if text == anchorEndpoint {
		return nowhere
	}
	return text
}

// sinkholeOf reports whether text is a sinkhole address of t.
func sinkholeOf(t Target, text string) bool {
	return slices.ContainsFunc(t.AllAddresses(), func(address netip.Addr) bool { return text == address.String() })
}

// resolve returns the address that the app of the Pod gets for a host.
func (s *sidecar) resolve(host string) string {
	for _, t := range s.world.Targets {
		if s.pod.asks(t.Target) && strings.EqualFold(host, t.Host) {
			return t.Address().String()
		}
	}
	if address, found := s.names[strings.ToLower(strings.TrimSuffix(host, "."))]; found {
		return address
	}
	return outside(host)
}

// resolved returns call with the address that the app gets for its name.
func (s *sidecar) resolved(call Call) Call {
	call.Address = s.resolve(call.Address)
	return call
}

// outside returns the address that DNS has for a host: one for each.
func outside(host string) string {
	if address, err := netip.ParseAddr(host); err == nil {
		return address.String()
	}
	last := byte(10)
	for _, letter := range []byte(strings.ToLower(strings.TrimSuffix(host, "."))) {
		last = last*7 + letter
	}
	return netip.AddrFrom4([4]byte{203, 0, 113, last}).String()
}
