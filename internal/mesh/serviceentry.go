package mesh

import (
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"mtls.egress/webhook/internal/target"
)

const (
	portNameHTTP  = "http"
	portNameHTTPS = "https"
	protocolHTTP  = "HTTP"
	protocolHTTPS = "HTTPS"
)

// ServiceEntry returns the object that makes the host and the partner's port known to the sidecars of the namespace. Its
// address is the sinkhole address, so that the app's own https calls, which go there, are recognised. The endpoint carries a
// trailing dot: Envoy then asks DNS for the partner's real address, and not /etc/hosts, where the sinkhole stands. The app
// port is left out: with it a ServiceEntry that stands alone would let plain HTTP out to the partner. Options.DNSCapture
// makes the exception.
func ServiceEntry(t target.Target, opts Options) *networkingv1.ServiceEntry {
	serviceEntry := &networkingv1.ServiceEntry{
		TypeMeta:   typeMeta(KindServiceEntry),
		ObjectMeta: objectMeta(t.Namespace, target.ObjectName(t.Host)),
	}
	serviceEntry.Spec.Hosts = []string{t.Host}
	serviceEntry.Spec.Addresses = []string{t.Address().String()}
	serviceEntry.Spec.ExportTo = ownNamespace()
	serviceEntry.Spec.Location = networking.ServiceEntry_MESH_EXTERNAL
	serviceEntry.Spec.Resolution = networking.ServiceEntry_DNS
	serviceEntry.Spec.Endpoints = []*networking.WorkloadEntry{{Address: t.Host + "."}}
	serviceEntry.Spec.Ports = []*networking.ServicePort{{Number: portNumber(t.Port), Name: portNameHTTPS, Protocol: protocolHTTPS}}
	if opts.DNSCapture {
		serviceEntry.Spec.Ports = append(serviceEntry.Spec.Ports,
			&networking.ServicePort{Number: portNumber(t.AppPort), Name: portNameHTTP, Protocol: protocolHTTP})
	}
	return serviceEntry
}

// OpensAppPort says whether serviceEntry, which ServiceEntry made once, carries the app port; that is, whether it was made
// with Options.DNSCapture. What has another form than the CRD admits opens nothing.
func OpensAppPort(serviceEntry *unstructured.Unstructured) bool {
	ports, _, err := unstructured.NestedSlice(serviceEntry.Object, "spec", "ports")
	return err == nil && slices.ContainsFunc(ports, func(port any) bool {
		fields, _ := port.(map[string]any)
		return fields["protocol"] == protocolHTTP
	})
}
