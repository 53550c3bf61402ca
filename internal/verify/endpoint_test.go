package verify_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/verify"
)

// TestEndpointsAreDialedInPlaceOfTheHost makes handshakes with a server that is only reached by
// endpoints. The server name and the accepted names are those of the host.
func TestEndpointsAreDialedInPlaceOfTheHost(t *testing.T) {
	endpoint := func(address net.Addr) egress.Endpoint {
		to := netip.MustParseAddrPort(address.String())
		return egress.Endpoint{Address: to.Addr().String(), Port: int32(to.Port())}
	}
	closed := listen(t)
	_ = closed.Close()
	other := listen(t)
	_ = other.Close()
	type seen struct {
		Reason  verify.Reason
		Host    string
		Port    int32
		Failure verify.Failure
	}
	tests := map[string]struct {
		// endpoints are before that of the server, unless without is true.
		endpoints []egress.Endpoint
		without   bool
		want      func(server egress.Endpoint) seen
	}{
		"the first is the server": {
			want: func(server egress.Endpoint) seen { return seen{verify.Verified, server.Address, server.Port, ""} },
		},
		"the first can't be reached": {
			endpoints: []egress.Endpoint{endpoint(closed.Addr())},
			want:      func(server egress.Endpoint) seen { return seen{verify.Verified, server.Address, server.Port, ""} },
		},
		"none can be reached, and the first is reported": {
			endpoints: []egress.Endpoint{endpoint(closed.Addr()), endpoint(other.Addr())}, without: true,
			want: func(egress.Endpoint) seen {
				first := endpoint(closed.Addr())
				return seen{verify.Unreachable, first.Address, first.Port, verify.NotConnected}
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := newParties(t)
			address, _ := serve(t, p.mutual())
			request := p.request(t, address)
			request.Host, request.Port = host, 1
			request.Endpoints = test.endpoints
			if !test.without {
				request.Endpoints = append(request.Endpoints, endpoint(address))
			}
			observed := prober().Probe(t.Context(), request)
			got := seen{verify.Evaluate(observed).Reason, observed.Host, observed.Port, observed.Failure}
			if diff := cmp.Diff(test.want(endpoint(address)), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
