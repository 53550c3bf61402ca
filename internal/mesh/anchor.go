package mesh

import (
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/internal/egress"
)

const (
	// anchorEndpoint is from TEST-NET-1 (RFC 5737), which is not routed.
	anchorEndpoint = "192.0.2.1"
)

// Anchor returns the anchor of a namespace: a ServiceEntry for a host that no app calls. Its ports
// are the app ports of all targets of the namespace. They may repeat and have any order. Without
// any, the port is 80.
//
// The anchor is needed because a sidecar listens for HTTP only on ports of HTTP services that it
// knows. If no service has the app port, no VirtualService applies and the call passes through
// unchanged.
func Anchor(namespace string, appPorts []int32) *networkingv1.ServiceEntry {
	ports := slices.Clone(appPorts)
	if len(ports) == 0 {
		ports = []int32{egress.DefaultAppPort}
	}
	slices.Sort(ports)
	ports = slices.Compact(ports)
	anchor := &networkingv1.ServiceEntry{
		TypeMeta:   typeMeta(KindServiceEntry),
		ObjectMeta: objectMeta(namespace, egress.AnchorName),
	}
	anchor.Spec.Hosts = []string{egress.AnchorHost}
	anchor.Spec.ExportTo = ownNamespace()
	anchor.Spec.Location = networking.ServiceEntry_MESH_EXTERNAL
	anchor.Spec.Resolution = networking.ServiceEntry_STATIC
	anchor.Spec.Endpoints = []*networking.WorkloadEntry{{Address: anchorEndpoint}}
	for _, port := range ports {
		anchor.Spec.Ports = append(anchor.Spec.Ports, &networking.ServicePort{
			Number: portNumber(port), Name: anchorPortName(port), Protocol: protocolHTTP,
		})
	}
	return anchor
}

// anchorPortName depends only on the port, so a port keeps its name when other ports are added or
// removed.
func anchorPortName(port int32) string {
	if port == egress.DefaultAppPort {
		return portNameHTTP
	}
	return fmt.Sprintf("%s-%d", portNameHTTP, port)
}
