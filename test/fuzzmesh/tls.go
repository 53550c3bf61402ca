package fuzzmesh

import (
	"slices"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyprotocol "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"mtls.egress/webhook/internal/egress"
)

// wanted is the TLS that the calls to t have to leave in.
func wanted(t Target) TLS {
	mount := egress.MountPath(t.Host) + "/"
	ca := mount + t.Layout.ServerCA
	if t.ServerCA.System {
		ca = "system"
	}
	return TLS{
		SNI:         t.SNI,
		Certificate: "file-cert:" + mount + t.Layout.Certificate + "~" + mount + t.Layout.PrivateKey,
		CA:          "file-root:" + ca,
		Names:       slices.Sorted(slices.Values(t.SubjectAltNames)),
	}
}

// equal reports whether both are the same TLS.
func (t TLS) equal(other TLS) bool {
	return t.SNI == other.SNI && t.Certificate == other.Certificate && t.CA == other.CA && slices.Equal(t.Names,
		other.Names)
}

// tls returns what a cluster may wrap calls in, nil for nothing.
func (s *sidecar) tls(c *cluster.Cluster) []*TLS {
	var sockets []*core.TransportSocket
	for _, match := range c.GetTransportSocketMatches() {
		sockets = append(sockets, match.GetTransportSocket())
	}
	if len(sockets) == 0 {
		sockets = append(sockets, c.GetTransportSocket())
	}
	var each []*TLS
	for _, socket := range sockets {
		each = append(each, s.socket(socket))
	}
	return each
}

func (s *sidecar) socket(socket *core.TransportSocket) *TLS {
	proxied := &proxyprotocol.ProxyProtocolUpstreamTransport{}
	if socket.GetTypedConfig().MessageIs(proxied) {
		if err := socket.GetTypedConfig().UnmarshalTo(proxied); err != nil {
			s.t.Fatal(err)
		}
		socket = proxied.GetTransportSocket()
	}
	upstream := &tls.UpstreamTlsContext{}
	if socket == nil || !socket.GetTypedConfig().MessageIs(upstream) {
		return nil
	}
	if err := socket.GetTypedConfig().UnmarshalTo(upstream); err != nil {
		s.t.Fatal(err)
	}
	common := upstream.GetCommonTlsContext()
	found := &TLS{SNI: upstream.GetSni()}
	if upstream.GetAutoHostSni() {
		found.SNI = "(the Host header)"
	}
	var certificates []string
	for _, secret := range common.GetTlsCertificateSdsSecretConfigs() {
		certificates = append(certificates, secret.GetName())
	}
	found.Certificate = strings.Join(certificates, ",")
	combined := common.GetCombinedValidationContext()
	found.CA = combined.GetValidationContextSdsSecretConfig().GetName()
	validation := combined.GetDefaultValidationContext()
	for _, name := range validation.GetMatchSubjectAltNames() { //nolint:staticcheck // what Istio sets
		found.Names = append(found.Names, name.GetExact())
	}
	slices.Sort(found.Names)
	found.Names = slices.Compact(found.Names)
	return found
}

// clusterSettings are all settings of a cluster but its endpoints.
func clusterSettings(c *cluster.Cluster) string {
	c = proto.CloneOf(c)
	c.LoadAssignment, c.Metadata = nil, nil
	return c.String()
}
