package mesh

import (
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/internal/egress"
)

const (
	portNameHTTP  = "http"
	portNameHTTPS = "https"
	portNameApp   = "app"
	protocolHTTP  = "HTTP"
	protocolHTTPS = "HTTPS"
)

// ServiceEntry returns the object that adds the partner's TLS port to the sidecars of the
// namespace, under egress.MeshHost. The mesh never learns the partner's own name, so Istio doesn't
// merge this object with others. Its addresses are the sinkhole addresses, so that the sidecar
// recognizes the app's own https calls, which go there. See endpoints for where Envoy connects to.
// The resolution is DNS for IP addresses too, so that they can be mixed with names. The app port is
// left out, because only the VirtualService may route plain HTTP.
func ServiceEntry(t egress.Target) *networkingv1.ServiceEntry {
	serviceEntry := &networkingv1.ServiceEntry{
		TypeMeta:   typeMeta(KindServiceEntry),
		ObjectMeta: objectMeta(t.Namespace, egress.ObjectName(t.Host)),
	}
	serviceEntry.Spec.Hosts = []string{egress.MeshHost(t.Host)}
	serviceEntry.Spec.Addresses = addresses(t)
	serviceEntry.Spec.ExportTo = ownNamespace()
	serviceEntry.Spec.Location = networking.ServiceEntry_MESH_EXTERNAL
	serviceEntry.Spec.Resolution = networking.ServiceEntry_DNS
	serviceEntry.Spec.Endpoints = endpoints(t)
	serviceEntry.Spec.Ports = []*networking.ServicePort{
		{Number: portNumber(t.Port), Name: portNameHTTPS, Protocol: protocolHTTPS},
	}
	return serviceEntry
}

// addresses returns all sinkhole addresses of t.
func addresses(t egress.Target) []string {
	var texts []string
	for _, address := range t.AllAddresses() {
		texts = append(texts, address.String())
	}
	return texts
}
