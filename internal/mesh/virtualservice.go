package mesh

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/internal/egress"
)

const (
	// routeName names the HTTP route; Envoy's access log shows it.
	routeName = "mtls-egress"
	// closedSubset is a subset that no DestinationRule has: Envoy closes connections to a cluster that
	// it does not know.
	closedSubset = "mtls-egress-closed"
	// retryOn lists the failures after which a request was surely not executed: the connection was
	// refused, the server refused the stream before processing it (RFC 9113 §8.7), or the connection
	// was lost before the request was sent. Of Istio's own default, "unavailable", "cancelled" and
	// "retriable-status-codes" are left out: they repeat a POST that the partner may have executed.
	// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter
	retryOn = "connect-failure,refused-stream,reset-before-request"
)

// removedRequestHeaders are the headers that a sidecar adds and the partner need not see: they tell
// of the mesh behind the call. Envoy's x-request-id stays, as it serves to find a call in the logs
// of both sides.
func removedRequestHeaders() []string {
	return []string{
		"x-envoy-attempt-count",
		"x-envoy-decorator-operation",
		"x-envoy-peer-metadata",
		"x-envoy-peer-metadata-id",
		"x-forwarded-proto",
		"x-forwarded-client-cert",
	}
}

// VirtualService returns the object that leads calls of the target's Pods to egress.MeshHost; it
// alone knows the partner's own host. Plain HTTP calls go to the subset that speaks mutual TLS.
// Since only the subset is named, a missing DestinationRule gives 503 (cluster_not_found) and not a
// call without TLS. The app's own https calls go to the port itself, so that they are not wrapped
// twice. Pods without the target's label don't match, so their calls go where they went before.
func VirtualService(t egress.Target) *networkingv1.VirtualService {
	virtualService := routing(t)
	route := virtualService.Spec.Http[0]
	route.Route = []*networking.HTTPRouteDestination{{Destination: destination(t, SubsetName)}}
	route.Retries = retries(t.Retries)
	route.Timeout = duration(t.Timeout)
	route.Headers = &networking.Headers{
		Request: &networking.Headers_HeaderOperations{Remove: removedRequestHeaders()},
	}
	virtualService.Spec.Tls[0].Route = []*networking.RouteDestination{{Destination: destination(t, "")}}
	return virtualService
}

// routing is the VirtualService of a target without the destinations of its routes.
//
// The TLS route matches the server name, also where it leads where the ServiceEntry alone would:
// without a match by server name, the listener at the sinkhole address would pass on whatever an
// app sends to the partner's port, plain HTTP among it.
func routing(t egress.Target) *networkingv1.VirtualService {
	virtualService := &networkingv1.VirtualService{
		TypeMeta:   typeMeta(KindVirtualService),
		ObjectMeta: objectMeta(t.Namespace, egress.ObjectName(t.Host)),
	}
	virtualService.Spec.Hosts = virtualServiceHosts(t)
	virtualService.Spec.ExportTo = ownNamespace()
	virtualService.Spec.Http = []*networking.HTTPRoute{{
		Name:  routeName,
		Match: []*networking.HTTPMatchRequest{{Port: portNumber(t.AppPort), SourceLabels: podLabels(t)}},
	}}
	virtualService.Spec.Tls = []*networking.TLSRoute{{
		Match: []*networking.TLSMatchAttributes{{
			Port: portNumber(t.Port), SniHosts: []string{t.Host}, SourceLabels: podLabels(t),
		}},
	}}
	return virtualService
}

func destination(t egress.Target, subset string) *networking.Destination {
	return &networking.Destination{
		Host:   egress.MeshHost(t.Host),
		Subset: subset,
		Port:   &networking.PortSelector{Number: portNumber(t.Port)},
	}
}

// virtualServiceHosts are the host in both of its forms, and the hosts of the ServiceEntry and the
// listener. Envoy compares the Host header to the letter, and most C libraries look up a name with
// a trailing dot in DNS and not in /etc/hosts, so without the second form such calls would leave in
// plain text. Without the third, Istio would not apply the TLS route to the listener at the
// sinkhole address, nor without the last the HTTP route.
//
// For every app port but 80 the anchor's host is added. Istio applies a VirtualService to a port
// other than 80 only if one of its hosts is a service with that port, and only the anchor has it.
// See selectVirtualServices:
// https://github.com/istio/istio/blob/1.30.3/pilot/pkg/networking/core/httproute.go
func virtualServiceHosts(t egress.Target) []string {
	hosts := []string{t.Host, t.Host + ".", egress.MeshHost(t.Host)}
	if !t.AddressShared {
		hosts = append(hosts, egress.ListenerHost(t.Host, t.AppPort))
	}
	if t.AppPort == egress.DefaultAppPort {
		return hosts
	}
	return append(hosts, egress.AnchorHost)
}

// retries is never nil: without it Istio retries by its own or the mesh's default, and the default
// of the mesh may repeat a POST. With 0 attempts nothing else may be set, as Istio refuses the
// object then.
func retries(attempts int32) *networking.HTTPRetry {
	if attempts <= 0 {
		return &networking.HTTPRetry{}
	}
	return &networking.HTTPRetry{Attempts: attempts, RetryOn: retryOn}
}

// duration returns d in whole milliseconds, as Istio takes no fractions of them, or nil when
// nothing is left.
func duration(d time.Duration) *durationpb.Duration {
	if d = d.Truncate(time.Millisecond); d > 0 {
		return durationpb.New(d)
	}
	return nil
}
