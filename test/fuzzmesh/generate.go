package fuzzmesh

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	typev1beta1 "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// dice makes the decisions of a world.
type dice struct {
	*rand.Rand
	world World
}

// generate returns the world with a number of the run with a seed.
func generate(seed, number uint64) World {
	d := &dice{Rand: rand.New(rand.NewPCG(seed, number))}
	d.world.Mesh = d.mesh()
	d.world.Targets = d.targets()
	d.world.Services = d.services()
	for range d.IntN(4) {
		d.add(d.foreign())
	}
	if d.often(15) {
		d.add(d.serviceEntry())
		d.add(d.gateway())
	}
	d.world.Ours = slices.DeleteFunc(d.ours(), d.world.taken)
	return d.world
}

// add adds an object of others, unless Istio's admission refuses it.
func (d *dice) add(object mesh.Object) {
	if valid(object) && !d.world.taken(object) {
		d.world.Theirs = append(d.world.Theirs, object)
	}
}

// pick returns one of choices; one that stands twice comes twice as often.
func pick[T any](d *dice, choices ...T) T { return choices[d.IntN(len(choices))] }

// often reports true in percent of its calls.
func (d *dice) often(percent int) bool { return d.IntN(100) < percent }

func (d *dice) mesh() Mesh {
	m := Mesh{Mode: pick(d, "ALLOW_ANY", "ALLOW_ANY", "REGISTRY_ONLY", "ALLOW_ANY_DYNAMIC_DNS"),
		DNSCapture: d.often(30)}
	for _, exportTo := range []*[]string{&m.VirtualServiceExportTo, &m.DestinationRuleExportTo, &m.ServiceExportTo} {
		if d.often(10) {
			*exportTo = pick(d, []string{"."}, []string{"*"}, []string{"~"})
		}
	}
	return m
}

// The hosts of the targets: two in the same domain, and such as the cluster could answer.
func hosts() []string {
	return []string{"external.system.com", "external.system.com", "external.system.com", "api.system.com", "web.other"}
}

func (d *dice) targets() []Target {
	var targets []Target
	for range pick(d, 1, 1, 2) {
		host := pick(d, hosts()...)
		if slices.ContainsFunc(targets, func(t Target) bool { return t.Host == host }) {
			continue
		}
		targets = append(targets, d.target(host))
	}
	return among(targets)
}

func (d *dice) target(host string) Target {
	egressTarget := &v1alpha1.EgressTarget{}
	egressTarget.Spec.Port = pick[int32](d, 443, 443, 443, 443, 8443, 8080)
	egressTarget.Spec.AppPort = pick[int32](d, 80, 80, 80, 5432, 8081)
	if d.often(15) {
		egressTarget.Spec.SNI = "sni.system.com"
	}
	if d.often(15) {
		egressTarget.Spec.SubjectAltNames = []string{host, "partner.system.com"}
	}
	if d.often(10) {
		egressTarget.Spec.ServerCA = &v1alpha1.ServerCA{System: new(true)}
	}
	if d.often(20) {
		egressTarget.Spec.HTTP = &v1alpha1.HTTP{Host: "host.system.com", Version: pick(d, v1alpha1.HTTPVersionAuto, "1.1", "2")}
	}
	if d.often(20) {
		relays := []v1alpha1.Endpoint{{Address: "relay.example"}, {Address: "192.0.2.7", Port: 9443, Priority: 1}}
		egressTarget.Spec.Endpoints = relays[:pick(d, 1, 2)]
	}
	layout := pick(d, egress.Layout{Certificate: "cert", PrivateKey: "key", ServerCA: "cacert"},
		egress.Layout{Certificate: "tls.crt", PrivateKey: "tls.key", ServerCA: "ca.crt"})
	t := egress.FromEgressTarget(ownNamespace, host, egressTarget, egress.Sinkhole{})
	if d.often(15) {
		// A Pod that started when the range of the sinkhole addresses was another.
		t = t.AlsoAt([]netip.Addr{netip.MustParseAddr("198.18.3.4")})
	}
	return Target{Target: t, Layout: layout}
}

// ours returns the generated objects that stand: mostly all of open targets, else any subset, of
// closed ones and of targets between the two as well.
func (d *dice) ours() []mesh.Object {
	var objects []mesh.Object
	whole := d.often(60)
	if whole || d.often(70) {
		objects = append(objects, anchor(d.world.Targets))
	}
	for _, t := range d.world.Targets {
		open, closed := t.open(), t.closed()
		objects = append(objects, d.stand(whole, open, closed)...)
	}
	return objects
}

func (d *dice) stand(whole bool, open, closed []mesh.Object) []mesh.Object {
	switch {
	case whole && d.often(75):
		return open
	case whole:
		return closed
	}
	var objects []mesh.Object
	for _, object := range open {
		if d.often(50) && !slices.ContainsFunc(closed, func(other mesh.Object) bool {
			return sameName(object,
				other)
		}) {
			objects = append(objects, object)
		}
	}
	for _, object := range closed {
		i := slices.IndexFunc(open, func(other mesh.Object) bool { return sameName(object, other) })
		if d.often(60) {
			objects = append(objects, pick(d, open[i], object))
		}
	}
	return objects
}

// services are Services of the cluster: with addresses and headless, on ports that targets use, and
// now and then with the address of a sinkhole.
func (d *dice) services() []*corev1.Service {
	var services []*corev1.Service
	for _, namespace := range []string{ownNamespace, otherNamespace} {
		if d.often(50) {
			continue
		}
		service := &corev1.Service{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
			ObjectMeta: d.meta(namespace, "web"),
		}
		service.Spec.ClusterIP = pick(d, "10.0.0.7", "10.0.0.7", "10.0.0.7", corev1.ClusterIPNone)
		if d.often(10) {
			service.Spec.ExternalIPs = []string{d.sinkhole()}
		}
		for _, port := range d.ports() {
			name := pick(d, "http", "tcp", "https", "mysql", "port")
			service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Name: fmt.Sprintf("%s-%d", name, port),
				Port: int32(port)})
		}
		if d.often(15) {
			service.Annotations = map[string]string{"networking.istio.io/exportTo": pick(d, ".", "*", "~",
				otherNamespace)}
		}
		services = append(services, service)
	}
	return services
}

func (d *dice) sinkhole() string {
	return pick(d, pick(d, d.world.Targets...).AllAddresses()...).String()
}

// ports are one to three different ports.
func (d *dice) ports() []uint32 {
	t := pick(d, d.world.Targets...)
	ports := []uint32{uint32(t.AppPort), uint32(t.Port), 80, 443, 8080, 8081}
	var picked []uint32
	for range 1 + d.IntN(3) {
		if port := pick(d, ports...); !slices.Contains(picked, port) {
			picked = append(picked, port)
		}
	}
	return picked
}

// host is a host that an object of others may name. Every host of ours is one.
func (d *dice) host() string {
	t := pick(d, d.world.Targets...)
	return pick(
		d, t.Host, t.Host, t.Host, t.Host, t.Host+".", "External.System.Com", "*.system.com", "*.com", "*",
		egress.MeshHost(t.Host),
		egress.ListenerHost(t.Host, t.AppPort), "*.mtls-egress.internal", "*.internal", egress.AnchorHost,
		"relay.example.org", "web", "web.other", "web.other.svc.cluster.local", "web.project.svc.cluster.local",
	)
}

func (d *dice) namespace() string {
	return pick(d, ownNamespace, ownNamespace, ownNamespace, otherNamespace, rootNamespace)
}

func (d *dice) exportTo() []string {
	return pick(d, nil, nil, nil, []string{"."}, []string{"."}, []string{"*"}, []string{ownNamespace},
		[]string{otherNamespace}, []string{"~"}, []string{".", otherNamespace})
}

func (d *dice) meta(namespace, name string) metav1.ObjectMeta {
	age := pick(d, -time.Hour, time.Hour, 0)
	return metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(birth().Add(age))}
}

// objectMeta is the metadata of an Istio object of others. Some have the name of one of ours.
func (d *dice) objectMeta() metav1.ObjectMeta {
	t := pick(d, d.world.Targets...)
	name := pick(d, "a", "b", "z")
	if d.often(4) {
		name = pick(d, egress.ObjectName(t.Host), egress.ListenerName(t.Host), egress.AnchorName)
	}
	meta := d.meta(d.namespace(), name)
	if d.often(5) {
		meta.Labels = map[string]string{"istio.io/rev": pick(d, "canary", revision)}
	}
	if d.often(4) {
		meta.OwnerReferences = []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion().String(),
			Kind: v1alpha1.Kind, Name: t.Host, UID: "forged"}}
	}
	return meta
}

// labels select Pods: those of a target, their neighbors, both or none.
func (d *dice) labels() map[string]string {
	t := pick(d, d.world.Targets...)
	return pick(d,
		map[string]string{egress.HostLabel(t.Host): egress.LabelValue},
		map[string]string{egress.HostLabel(t.Host): egress.LabelValue, "app": "shop"},
		map[string]string{"app": "shop"},
		map[string]string{"app": "nothing"},
	)
}

func (d *dice) selector() *typev1beta1.WorkloadSelector {
	if d.often(60) {
		return nil
	}
	return &typev1beta1.WorkloadSelector{MatchLabels: d.labels()}
}

// foreign is an object of others.
func (d *dice) foreign() mesh.Object {
	return pick(d, d.virtualService, d.virtualService, d.destinationRule, d.destinationRule, d.serviceEntry,
		d.serviceEntry, d.sidecar)()
}

func (d *dice) virtualService() mesh.Object {
	object := &networkingv1.VirtualService{TypeMeta: typeMeta(mesh.KindVirtualService), ObjectMeta: d.objectMeta()}
	object.Spec.Hosts = d.hostList()
	object.Spec.ExportTo = d.exportTo()
	object.Spec.Gateways = pick(d, nil, nil, nil, []string{"mesh"}, []string{"front"}, []string{"front", "mesh"})
	for range d.IntN(3) {
		object.Spec.Http = append(object.Spec.Http, d.httpRoute())
	}
	if d.often(30) {
		object.Spec.Tls = append(object.Spec.Tls, &networking.TLSRoute{
			Match: []*networking.TLSMatchAttributes{{SniHosts: object.Spec.Hosts, Port: pick(d, uint32(0), 443),
				SourceLabels: d.sourceLabels()}},
			Route: []*networking.RouteDestination{{Destination: d.destination()}},
		})
	}
	if d.often(20) || len(object.Spec.Http)+len(object.Spec.Tls) == 0 {
		route := &networking.TCPRoute{Route: []*networking.RouteDestination{{Destination: d.destination()}}}
		if d.often(60) {
			route.Match = []*networking.L4MatchAttributes{{Port: d.ports()[0], SourceLabels: d.sourceLabels()}}
		}
		if d.often(20) {
			route.Match = []*networking.L4MatchAttributes{{DestinationSubnets: []string{pick(d, d.sinkhole(),
				d.sinkhole(), "240.0.0.0/4", "0.0.0.0/0")}}}
		}
		object.Spec.Tcp = append(object.Spec.Tcp, route)
	}
	return object
}

// hostList is one to two different hosts.
func (d *dice) hostList() []string {
	list := []string{d.host()}
	if other := d.host(); d.often(25) && other != list[0] {
		list = append(list, other)
	}
	return list
}

func (d *dice) sourceLabels() map[string]string {
	if d.often(70) {
		return nil
	}
	return d.labels()
}

func (d *dice) httpRoute() *networking.HTTPRoute {
	route := &networking.HTTPRoute{}
	if d.often(50) {
		match := &networking.HTTPMatchRequest{SourceLabels: d.sourceLabels(), SourceNamespace: pick(d, "", "", "",
			ownNamespace, otherNamespace)}
		match.Port = pick(d, 0, 0, d.ports()[0])
		match.Gateways = pick(d, nil, nil, nil, nil, []string{"front"}, []string{"mesh"})
		if d.often(30) {
			match.Uri = &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: "/v1"}}
		}
		if d.often(20) {
			match.Headers = map[string]*networking.StringMatch{
				"x-tenant": {MatchType: &networking.StringMatch_Exact{Exact: "a"}},
			}
		}
		route.Match = append(route.Match, match)
	}
	switch d.IntN(8) {
	case 0:
		route.DirectResponse = &networking.HTTPDirectResponse{Status: 404}
	case 1:
		route.Redirect = &networking.HTTPRedirect{Authority: "elsewhere.example.org"}
	default:
		route.Route = []*networking.HTTPRouteDestination{{Destination: d.destination()}}
		if d.often(15) {
			route.Route[0].Weight = 50
			route.Route = append(route.Route, &networking.HTTPRouteDestination{Destination: d.destination(),
				Weight: 50})
		}
		if d.often(10) {
			route.Mirrors = []*networking.HTTPMirrorPolicy{{Destination: d.destination()}}
		}
		if d.often(10) {
			route.Rewrite = &networking.HTTPRewrite{Authority: "elsewhere.example.org"}
		}
	}
	return route
}

func (d *dice) destination() *networking.Destination {
	destination := &networking.Destination{Host: d.host(), Subset: pick(d, "", "", "", mesh.SubsetName, "v1")}
	for destination.Host[0] == '*' {
		destination.Host = d.host()
	}
	if d.often(80) {
		destination.Port = &networking.PortSelector{Number: d.ports()[0]}
	}
	return destination
}

func (d *dice) destinationRule() mesh.Object {
	object := &networkingv1.DestinationRule{TypeMeta: typeMeta(mesh.KindDestinationRule), ObjectMeta: d.objectMeta()}
	object.Spec.Host = d.host()
	object.Spec.ExportTo = d.exportTo()
	object.Spec.WorkloadSelector = d.selector()
	if object.Spec.WorkloadSelector != nil && d.often(90) {
		object.Spec.ExportTo = pick(d, nil, []string{"."})
	}
	if d.often(70) {
		object.Spec.TrafficPolicy = d.trafficPolicy()
	}
	if d.often(50) {
		object.Spec.Subsets = []*networking.Subset{{Name: pick(d, mesh.SubsetName, "v1"),
			TrafficPolicy: d.trafficPolicy()}}
		if d.often(30) {
			object.Spec.Subsets[0].Labels = map[string]string{"version": "v1"}
		}
	}
	return object
}

func (d *dice) trafficPolicy() *networking.TrafficPolicy {
	policy := &networking.TrafficPolicy{Tls: d.tls()}
	if d.often(30) {
		policy.PortLevelSettings = []*networking.TrafficPolicy_PortTrafficPolicy{
			{Port: &networking.PortSelector{Number: d.ports()[0]}, Tls: d.tls()},
		}
	}
	if d.often(20) {
		policy.ConnectionPool = &networking.ConnectionPoolSettings{
			Http: &networking.ConnectionPoolSettings_HTTPSettings{
				H2UpgradePolicy: networking.ConnectionPoolSettings_HTTPSettings_UPGRADE,
			},
		}
	}
	if d.often(10) {
		policy.ProxyProtocol = &networking.TrafficPolicy_ProxyProtocol{}
	}
	return policy
}

func (d *dice) tls() *networking.ClientTLSSettings {
	return pick(d, nil,
		&networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_DISABLE},
		&networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_SIMPLE},
		&networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_ISTIO_MUTUAL},
		&networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_MUTUAL, ClientCertificate: "/mine/cert",
			PrivateKey: "/mine/key", CaCertificates: "/mine/ca", Sni: "other.system.com"},
	)
}

func (d *dice) serviceEntry() mesh.Object {
	object := &networkingv1.ServiceEntry{TypeMeta: typeMeta(mesh.KindServiceEntry), ObjectMeta: d.objectMeta()}
	object.Spec.Hosts = d.hostList()
	object.Spec.ExportTo = d.exportTo()
	object.Spec.Location = pick(d, networking.ServiceEntry_MESH_EXTERNAL, networking.ServiceEntry_MESH_EXTERNAL,
		networking.ServiceEntry_MESH_INTERNAL)
	object.Spec.Resolution = pick(d, networking.ServiceEntry_NONE, networking.ServiceEntry_STATIC,
		networking.ServiceEntry_DNS, networking.ServiceEntry_DNS,
		networking.ServiceEntry_DNS_ROUND_ROBIN, networking.ServiceEntry_DYNAMIC_DNS)
	if d.often(30) {
		object.Spec.Addresses = []string{pick(d, d.sinkhole(), d.sinkhole(), "240.0.0.0/4", "0.0.0.0/0",
			"203.0.113.10", "10.0.0.7")}
		if d.often(20) {
			object.Spec.Addresses = append([]string{"10.0.0.9"}, object.Spec.Addresses...)
		}
	}
	for _, port := range d.ports() {
		protocol := pick(d, "HTTP", "HTTP", "HTTPS", "TLS", "TCP", "HTTP2", "GRPC", "MYSQL", "")
		entry := &networking.ServicePort{Number: port, Name: fmt.Sprintf("p-%d", port), Protocol: protocol}
		if d.often(20) {
			entry.TargetPort = d.ports()[0]
		}
		object.Spec.Ports = append(object.Spec.Ports, entry)
	}
	switch object.Spec.Resolution {
	case networking.ServiceEntry_STATIC:
		object.Spec.Endpoints = []*networking.WorkloadEntry{{Address: "198.51.100.5"}}
	case networking.ServiceEntry_DNS, networking.ServiceEntry_DNS_ROUND_ROBIN:
		if d.often(50) {
			object.Spec.Endpoints = []*networking.WorkloadEntry{{Address: pick(d, d.world.Targets[0].Host,
				d.world.Targets[0].Host+".", "relay.example.org")}}
		}
	default:
	}
	return object
}

func (d *dice) sidecar() mesh.Object {
	object := &networkingv1.Sidecar{TypeMeta: typeMeta(mesh.KindSidecar), ObjectMeta: d.objectMeta()}
	if d.often(40) {
		object.Spec.WorkloadSelector = &networking.WorkloadSelector{Labels: d.labels()}
	}
	for range d.IntN(3) {
		listener := &networking.IstioEgressListener{}
		for range 1 + d.IntN(2) {
			listener.Hosts = append(listener.Hosts, pick(d, "./", "*/", ownNamespace+"/", otherNamespace+"/",
				"~/")+pick(d, "*", "*", d.host()))
		}
		if d.often(25) {
			listener.Port = &networking.SidecarPort{Number: d.ports()[0], Name: "p", Protocol: pick(d, "HTTP", "TCP",
				"TLS", "HTTPS")}
			listener.Bind = pick(d, "", "", "0.0.0.0", "127.0.0.1", d.sinkhole())
			listener.CaptureMode = pick(d, networking.CaptureMode_DEFAULT, networking.CaptureMode_IPTABLES,
				networking.CaptureMode_NONE)
		}
		object.Spec.Egress = append(object.Spec.Egress, listener)
	}
	if d.often(40) {
		mode := pick(d, networking.OutboundTrafficPolicy_ALLOW_ANY, networking.OutboundTrafficPolicy_REGISTRY_ONLY)
		object.Spec.OutboundTrafficPolicy = &networking.OutboundTrafficPolicy{Mode: mode}
		if mode == networking.OutboundTrafficPolicy_ALLOW_ANY && d.often(30) {
			egressProxy := d.destination()
			egressProxy.Port = &networking.PortSelector{Number: d.ports()[0]}
			object.Spec.OutboundTrafficPolicy.EgressProxy = egressProxy
		}
	}
	return object
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: mesh.GroupVersion().String(), Kind: kind}
}
