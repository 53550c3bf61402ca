package mesh

import (
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/internal/egress"
)

// Listener returns the ServiceEntry that makes the sidecar listen on the sinkhole addresses and the
// app port, where only the VirtualService applies. Without it, such calls reach the listener for
// all addresses. The anchor makes that one an HTTP listener, unless an older service or a Sidecar
// gives the port another protocol. A listener for one address takes precedence. Its port has no
// protocol, because Istio only creates a listener for one address for such a port or for TCP. Its
// endpoint is not routed: without the VirtualService, calls fail.
// https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/
func Listener(t egress.Target) *networkingv1.ServiceEntry {
	listener := &networkingv1.ServiceEntry{
		TypeMeta:   typeMeta(KindServiceEntry),
		ObjectMeta: objectMeta(t.Namespace, egress.ListenerName(t.Host)),
	}
	listener.Spec.Hosts = []string{egress.ListenerHost(t.Host, t.AppPort)}
	listener.Spec.Addresses = addresses(t)
	listener.Spec.ExportTo = ownNamespace()
	listener.Spec.Location = networking.ServiceEntry_MESH_EXTERNAL
	listener.Spec.Resolution = networking.ServiceEntry_STATIC
	listener.Spec.Endpoints = []*networking.WorkloadEntry{{Address: anchorEndpoint}}
	listener.Spec.Ports = []*networking.ServicePort{{Number: portNumber(t.AppPort), Name: portNameApp}}
	return listener
}
