package mesh

import (
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/internal/egress"
)

const (
	kindGateway = "Gateway"
	portNameTLS = "tls"
	protocolTLS = "TLS"
	// gatewayPort is the port at which Istio's gateways have TLS by default.
	gatewayPort = 443
)

// EgressGateway returns the objects with which an Istio gateway passes TLS connections on to the
// partner of t as they are, by their server name: Gateway, VirtualService and ServiceEntry. They
// belong in the namespace of the gateway and affect no other. selector are the labels of the
// gateway's Pods. The server names are t.SNI and, for the app's own https calls, the host.
//
// The controller doesn't write these objects, because the gateway belongs to its administrators.
func EgressGateway(t egress.Target, namespace string, selector map[string]string) []Object {
	names := []string{t.Host}
	if t.SNI != t.Host {
		names = append(names, t.SNI)
	}
	meta := metav1.ObjectMeta{Namespace: namespace, Name: egress.GatewayName(t.Host)}

	gateway := &networkingv1.Gateway{TypeMeta: typeMeta(kindGateway), ObjectMeta: meta}
	gateway.Spec.Selector = selector
	gateway.Spec.Servers = []*networking.Server{{
		Port:  &networking.Port{Number: gatewayPort, Name: portNameTLS, Protocol: protocolTLS},
		Hosts: names,
		Tls:   &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_PASSTHROUGH},
	}}

	virtualService := &networkingv1.VirtualService{TypeMeta: typeMeta(KindVirtualService), ObjectMeta: meta}
	virtualService.Spec.Hosts = names
	virtualService.Spec.ExportTo = ownNamespace()
	virtualService.Spec.Gateways = []string{namespace + "/" + meta.Name}
	virtualService.Spec.Tls = []*networking.TLSRoute{{
		Match: []*networking.TLSMatchAttributes{{Port: gatewayPort, SniHosts: names}},
		Route: []*networking.RouteDestination{{Destination: &networking.Destination{
			Host: t.Host, Port: &networking.PortSelector{Number: portNumber(t.Port)},
		}}},
	}}

	serviceEntry := &networkingv1.ServiceEntry{TypeMeta: typeMeta(KindServiceEntry), ObjectMeta: meta}
	serviceEntry.Spec.Hosts = []string{t.Host}
	serviceEntry.Spec.ExportTo = ownNamespace()
	serviceEntry.Spec.Location = networking.ServiceEntry_MESH_EXTERNAL
	serviceEntry.Spec.Resolution = networking.ServiceEntry_DNS
	serviceEntry.Spec.Ports = []*networking.ServicePort{
		{Number: portNumber(t.Port), Name: portNameTLS, Protocol: protocolTLS},
	}
	return []Object{gateway, virtualService, serviceEntry}
}
