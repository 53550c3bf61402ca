package mesh

import (
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/internal/egress"
)

const (
	// anchorEndpoint is from TEST-NET-1 (RFC 5737), which nobody routes.
	anchorEndpoint = "192.0.2.1"
)

// Anchor returns the anchor of a namespace: a ServiceEntry for a host that nobody calls, with the
// app ports of all targets of the namespace, in any order and as often as they occur; without any,
// 80. A sidecar only listens for HTTP on ports of HTTP services that it knows. Where none has the
// app port, a VirtualService is never asked and the call passes through as it is.
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

// anchorPortName is a function of the port alone, so that a port keeps its name when another comes
// or goes.
func anchorPortName(port int32) string {
	if port == egress.DefaultAppPort {
		return portNameHTTP
	}
	return fmt.Sprintf("%s-%d", portNameHTTP, port)
}
