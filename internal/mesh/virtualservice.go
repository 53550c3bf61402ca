package mesh

import (
	"regexp"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/internal/egress"
)

const (
	// routeName is the name of the HTTP route in Envoy's access log.
	routeName = "mtls-egress"
	// closedSubset is a subset that no DestinationRule has. Envoy closes connections to an unknown
	// cluster.
	closedSubset = "mtls-egress-closed"
	// retryOn lists the failures after which the server certainly did not process the request: the
	// connection was refused, the server refused the stream before processing it (RFC 9113 §8.7), or
	// the connection was lost before the request was sent. Istio's default also has "unavailable",
	// "cancelled" and "retriable-status-codes". They could repeat a POST that the partner already
	// processed.
	// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter
	retryOn = "connect-failure,refused-stream,reset-before-request"
)

// removedRequestHeaders returns the headers that the sidecar adds and that would disclose details
// of the mesh to the partner. Envoy's x-request-id stays, because it helps to find a call in the
// logs of both sides.
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

// VirtualService returns the object that routes calls of the target's Pods to egress.MeshHost. Only
// this object names the partner's own host. Plain HTTP calls go to the subset with mutual TLS. If
// the DestinationRule is missing, the subset is unknown, and the call gets 503 (cluster_not_found)
// instead of leaving without TLS. The app's own https calls go to the port itself, so that they are
// not encrypted twice. Pods without the target's label don't match, so their calls are unaffected.
//
// HTTP clients write the port of a URL and a trailing dot into the Host header, and gRPC clients
// write port 80 as well. A partner that compares the header with its own name would refuse such
// calls, so they have a route of their own, which replaces the header. Other calls keep theirs,
// because Envoy adds x-envoy-original-host to a call whose header it replaces.
func VirtualService(t egress.Target) *networkingv1.VirtualService {
	virtualService := routing(t)
	route := virtualService.Spec.Http[0]
	route.Route = []*networking.HTTPRouteDestination{{Destination: destination(t, SubsetName)}}
	route.Retries = retries(attempts(t))
	route.Timeout = duration(t.Timeout)
	route.Headers = &networking.Headers{
		Request: &networking.Headers_HeaderOperations{Remove: removedRequestHeaders()},
	}
	if t.HTTPHost != "" {
		route.Rewrite = &networking.HTTPRewrite{Authority: t.HTTPHost}
	} else {
		virtualService.Spec.Http = []*networking.HTTPRoute{withoutPort(t, route), route}
	}
	virtualService.Spec.Tls[0].Route = []*networking.RouteDestination{{Destination: destination(t, "")}}
	return virtualService
}

// withoutPort returns the route for calls whose Host header has a port or a trailing dot. It
// replaces the header by the host.
func withoutPort(t egress.Target, route *networking.HTTPRoute) *networking.HTTPRoute {
	replacing := route.DeepCopy()
	replacing.Match[0].Authority = &networking.StringMatch{MatchType: &networking.StringMatch_Regex{
		Regex: "(?i:" + regexp.QuoteMeta(t.Host) + `)(\.(:[0-9]+)?|:[0-9]+)`,
	}}
	replacing.Rewrite = &networking.HTTPRewrite{Authority: t.Host}
	return replacing
}

// routing returns the VirtualService of a target without the destinations of its routes.
//
// The TLS route leads to the same place as the ServiceEntry alone would. It exists because it
// matches the server name: without that match, the listener on the sinkhole address would forward
// anything that an app sends to the partner's port, including plain HTTP.
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

// virtualServiceHosts returns the host with and without a trailing dot, and the hosts of the
// ServiceEntry and the listener. Envoy compares the Host header literally, and most C libraries
// resolve a name with a trailing dot with DNS and not with /etc/hosts. Without the second form,
// such calls would leave in plain text. The host of the ServiceEntry makes Istio apply the TLS
// route to the listener on the sinkhole address, and the host of the listener does the same for the
// HTTP route.
//
// For every app port except 80, the anchor's host is added. Istio applies a VirtualService to a
// port other than 80 only if one of its hosts is a service with that port, and only the anchor has
// it. See selectVirtualServices:
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

// retries never returns nil. With nil, Istio uses its own default or the mesh's default, which may
// repeat a POST. With 0 attempts, nothing else may be set, or Istio rejects the object.
func retries(attempts int32) *networking.HTTPRetry {
	if attempts <= 0 {
		return &networking.HTTPRetry{}
	}
	return &networking.HTTPRetry{Attempts: attempts, RetryOn: retryOn}
}

// duration returns d truncated to milliseconds, because Istio rejects fractions of them, or nil if
// the result is 0.
func duration(d time.Duration) *durationpb.Duration {
	if d = d.Truncate(time.Millisecond); d > 0 {
		return durationpb.New(d)
	}
	return nil
}
