package adopt

import (
	"fmt"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
)

// maxRetries is the maximum of http.retries.
const maxRetries = 10

// setting is a field that a target doesn't have.
type setting struct {
	field   string
	set     bool
	effect  string
	matters bool
}

// readRoute reads the settings of the route of the VirtualService.
func (s *set) readRoute() {
	s.readHost()
	if s.calls.route == nil {
		return
	}
	service, route := s.services[0], s.calls.route
	at := fmt.Sprintf("spec.http[%d]", s.calls.n)
	if timeout := route.GetTimeout().AsDuration(); timeout > 0 {
		s.http().Timeout = &metav1.Duration{Duration: timeout}
	}
	s.readRetries(at, route.GetRetries())
	for _, lost := range []setting{
		{"match", s.hasConditions(), "all calls to the host go to the partner, and not only those that match",
			true},
		{"rewrite", route.GetRewrite().GetUri() != "" || route.GetRewrite().GetUriRegexRewrite() != nil,
			"the path stays as the app wrote it", true},
		{"fault", route.GetFault() != nil, "no faults are injected", false},
		{"mirror", route.GetMirror() != nil || len(route.GetMirrors()) > 0, "calls are not mirrored", true},
		{"corsPolicy", route.GetCorsPolicy() != nil, "the sidecar adds no CORS headers", true},
		{"headers", hasHeaders(route.GetHeaders()) || hasHeaders(route.GetRoute()[0].GetHeaders()),
			"the sidecar sets no headers; let the app send what the partner needs", true},
	} {
		if lost.set {
			s.lose(service.Object, at+"."+lost.field, lost.effect, lost.matters)
		}
	}
	for n, other := range service.Value.Spec.Http {
		if n != s.calls.n && len(s.matchedPorts(other)) > 0 {
			s.lose(service.Object, fmt.Sprintf("spec.http[%d]", n), "a target has one route, so this one doesn't apply", true)
		}
	}
	if len(service.Value.Spec.Tls)+len(service.Value.Spec.Tcp) > 0 {
		s.lose(service.Object, "spec.tls, spec.tcp", "the app's own https calls go to the partner as they are", false)
	}
}

// readHost reads the Host header that the partner gets: what the rewrite sets, or else the route's
// headers, or else those of its destination, as Istio chooses. By default, calls of a target have
// the app's header without the port of its URL.
func (s *set) readHost() {
	route, at := s.calls.route, fmt.Sprintf("spec.http[%d]", s.calls.n)
	var destination *networking.Headers
	if len(route.GetRoute()) > 0 {
		destination = route.GetRoute()[0].GetHeaders()
	}
	for _, way := range []struct{ field, host string }{
		{".rewrite.authority", route.GetRewrite().GetAuthority()},
		{".headers.request.set", hostHeader(route.GetHeaders())},
		{".route[0].headers.request.set", hostHeader(destination)},
	} {
		if way.host == "" {
			continue
		}
		if host, err := egress.NormalizeAuthority(way.host); err != nil {
			s.lose(s.services[0].Object, at+way.field, "the partner gets the app's Host header", true)
		} else if host != s.host {
			s.http().Host = host
		}
		return
	}
	if s.calls.appPort != egress.DefaultAppPort {
		s.change(fmt.Sprintf("The partner gets the Host header %s. Today it has the port of the apps' URL, %d; set "+
			"http.host if the partner needs a port in it.", s.host, s.calls.appPort))
	}
}

// hostHeader returns the Host header that the operations set, or "".
func hostHeader(headers *networking.Headers) string {
	for name, value := range headers.GetRequest().GetSet() {
		if isHost(name) {
			return value
		}
	}
	return ""
}

func isHost(header string) bool {
	return strings.EqualFold(header, "host") || strings.EqualFold(header, ":authority")
}

// readRetries reads the retries of the route.
func (s *set) readRetries(at string, retries *networking.HTTPRetry) {
	if retries == nil {
		s.change("Only requests that the partner can't have executed are retried, up to 2 times. Istio's default also " +
			"retries after errors, and can repeat a POST.")
		return
	}
	if attempts := retries.GetAttempts(); attempts != egress.DefaultRetries {
		s.http().Retries = new(min(attempts, maxRetries))
	}
	if retries.GetAttempts() == 0 {
		return
	}
	service := s.services[0].Object
	if retries.GetRetryOn() != "" || retries.GetRetryRemoteLocalities() != nil {
		s.lose(service, at+".retries.retryOn",
			"only requests that the partner can't have executed are retried, so errors of the partner reach the app",
			strings.Contains(retries.GetRetryOn(), "5") || strings.Contains(retries.GetRetryOn(), "retriable"))
	}
	if retries.GetPerTryTimeout() != nil {
		s.lose(service, at+".retries.perTryTimeout", "a single attempt has no limit; set http.timeout for the call", true)
	}
	if retries.GetAttempts() > maxRetries {
		s.lose(service, at+".retries.attempts", fmt.Sprintf("a target has at most %d retries", maxRetries), false)
	}
}

func (s *set) http() *v1alpha1.HTTP {
	spec := &s.proposal.EgressTarget.Spec
	if spec.HTTP == nil {
		spec.HTTP = &v1alpha1.HTTP{}
	}
	return spec.HTTP
}

// hasHeaders reports whether the operations change other headers than Host, which readHost reads.
func hasHeaders(headers *networking.Headers) bool {
	changes := func(operations *networking.Headers_HeaderOperations, hosts int) bool {
		return len(operations.GetSet())+len(operations.GetAdd())+len(operations.GetRemove()) > hosts
	}
	hosts := 0
	for name := range headers.GetRequest().GetSet() {
		if isHost(name) {
			hosts++
		}
	}
	return changes(headers.GetRequest(), hosts) || changes(headers.GetResponse(), 0)
}

// readPolicy reads the traffic policy of the DestinationRule.
func (s *set) readPolicy() {
	rule, policy := s.rules[0], s.policyFor(s.calls)
	tcp, http := policy.GetConnectionPool().GetTcp(), policy.GetConnectionPool().GetHttp()
	spec := &s.proposal.EgressTarget.Spec
	if age := tcp.GetMaxConnectionDuration().AsDuration(); age >= time.Second && age != egress.DefaultMaxConnectionAge {
		spec.Connection = &v1alpha1.Connection{MaxAge: &metav1.Duration{Duration: age}}
	}
	s.readVersion(http)
	const pool = "connectionPool."
	for _, lost := range []setting{
		{pool + "tcp.maxConnections", tcp.GetMaxConnections() != 0, "the number of connections has no limit of its own",
			true},
		{pool + "tcp.connectTimeout", tcp.GetConnectTimeout() != nil, "the mesh's connect timeout applies", false},
		{pool + "tcp.tcpKeepalive", tcp.GetTcpKeepalive() != nil, "the mesh's TCP keepalive applies", false},
		{pool + "tcp.idleTimeout", tcp.GetIdleTimeout() != nil, "connections end by their age, 5m by default", false},
		{pool + "http.maxRequestsPerConnection", http.GetMaxRequestsPerConnection() != 0,
			"connections end by their age, not by a number of requests", false},
		{pool + "http", http.GetHttp1MaxPendingRequests()+http.GetHttp2MaxRequests()+http.GetMaxRetries()+
			http.GetMaxConcurrentStreams() != 0, "the limits of pending and concurrent requests don't apply", true},
		{pool + "http.idleTimeout", http.GetIdleTimeout() != nil, "connections end by their age, 5m by default", false},
		{"loadBalancer", policy.GetLoadBalancer() != nil, "Istio's default balances the partner's addresses", false},
		{"outlierDetection", policy.GetOutlierDetection() != nil, s.withoutEjection(), true},
		{"tunnel", policy.GetTunnel() != nil, "calls don't go through the proxy, so the partner may be out of reach", true},
		{"proxyProtocol", policy.GetProxyProtocol() != nil, "connections have no PROXY header", true},
		{"retryBudget", policy.GetRetryBudget() != nil, "retries have no budget", false},
	} {
		if lost.set {
			s.lose(rule.Object, lost.field, lost.effect, lost.matters)
		}
	}
}

// withoutEjection returns the effect of the loss of outlierDetection.
func (s *set) withoutEjection() string {
	if len(s.proposal.EgressTarget.Spec.Endpoints) > 1 {
		return "endpoints are left out while they can't be reached, and answers of the partner don't count"
	}
	return "a failing address of the partner is not ejected"
}

// readVersion reads the HTTP version of the calls to the partner. The default of a target is the
// version of the app's call, as with useClientProtocol, which Istio prefers to an upgrade policy.
func (s *set) readVersion(http *networking.ConnectionPoolSettings_HTTPSettings) {
	if http.GetUseClientProtocol() {
		return
	}
	switch http.GetH2UpgradePolicy() {
	case networking.ConnectionPoolSettings_HTTPSettings_UPGRADE:
		s.http().Version = v1alpha1.HTTPVersion2
		return
	case networking.ConnectionPoolSettings_HTTPSettings_DO_NOT_UPGRADE:
		s.http().Version = v1alpha1.HTTPVersion1
		return
	case networking.ConnectionPoolSettings_HTTPSettings_DEFAULT:
	}
	switch strings.ToUpper(s.partnerProtocol()) {
	case "HTTP2", "GRPC":
		s.http().Version = v1alpha1.HTTPVersion2
	}
}
