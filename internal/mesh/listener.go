package mesh

import (
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/internal/egress"
)

// Listener returns the ServiceEntry that makes the sidecar listen at the sinkhole address on the
// app port, where it asks the VirtualService and nothing else. Without it such calls come to the
// listener of all addresses, of which the anchor makes one for HTTP unless an older service or a
// Sidecar gives the port another protocol. A listener for one address wins over it. Its port has no
// protocol, since Istio makes a listener for one address only of such a port or one for TCP. Its
// endpoint leads nowhere: alone it makes calls fail.
// https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/
func Listener(t egress.Target) *networkingv1.ServiceEntry {
	listener := &networkingv1.ServiceEntry{
		TypeMeta:   typeMeta(KindServiceEntry),
		ObjectMeta: objectMeta(t.Namespace, egress.ListenerName(t.Host)),
	}
	listener.Spec.Hosts = []string{egress.ListenerHost(t.Host, t.AppPort)}
	listener.Spec.Addresses = []string{t.Address().String()}
	listener.Spec.ExportTo = ownNamespace()
	listener.Spec.Location = networking.ServiceEntry_MESH_EXTERNAL
	listener.Spec.Resolution = networking.ServiceEntry_STATIC
	listener.Spec.Endpoints = []*networking.WorkloadEntry{{Address: anchorEndpoint}}
	listener.Spec.Ports = []*networking.ServicePort{{Number: portNumber(t.AppPort), Name: portNameApp}}
	return listener
}
