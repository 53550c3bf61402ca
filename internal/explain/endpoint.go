package explain

import (
	"fmt"
	"slices"
	"strings"

	"mtls.egress/webhook/internal/egress"
)

// endpointAt returns the endpoint of the EgressTarget at an address that Envoy called, or false if
// the target has none or the address isn't known.
func (f *Facts) endpointAt(address string) (found egress.Endpoint, ok bool) {
	t := f.Target()
	for _, endpoint := range t.Endpoints {
		if endpoint.String() == address {
			return endpoint, true
		}
	}
	if f.Sidecar == nil || f.Sidecar.Subset == nil {
		return egress.Endpoint{}, false
	}
	for _, host := range f.Sidecar.Subset.Endpoints {
		if host.Address != address {
			continue
		}
		at := slices.IndexFunc(t.Endpoints, host.resolves)
		if at >= 0 {
			return t.Endpoints[at], true
		}
	}
	return egress.Endpoint{}, false
}

// resolves reports whether Envoy got the address from the endpoint.
func (e Endpoint) resolves(endpoint egress.Endpoint) bool {
	return e.Name == endpoint.Address && strings.HasSuffix(e.Address, fmt.Sprintf(":%d", endpoint.Port)) ||
		e.Address == endpoint.String()
}

// unreachedEndpoint returns what a failed call means if it could not connect to an endpoint of the
// EgressTarget.
func (f *Facts) unreachedEndpoint(call Call, cause Cause) (means string, ok bool) {
	endpoint, found := f.endpointAt(call.Upstream)
	why := map[Cause]string{
		ConnectionRefused:  "nobody listens there",
		ConnectionTimedOut: "it doesn't answer, or a firewall drops the connection",
		ConnectionsFail:    "the connection ends before TLS is established",
	}[cause]
	if !found || why == "" {
		return "", false
	}
	return fmt.Sprintf("the endpoint %s of the EgressTarget can't be reached: %s; check the relay or gateway there, "+
		"and of an egress gateway its objects (mtls-egress-webhook gateway %s)", endpoint, why, f.Host), true
}

// endpointsWithoutAddress returns the endpoints whose names have no address.
func (f *Facts) endpointsWithoutAddress() []string {
	var missing []string
	for _, endpoint := range f.Target().Endpoints {
		if _, isIP := endpoint.IP(); isIP {
			continue
		}
		if !slices.ContainsFunc(f.Sidecar.Subset.Endpoints, func(e Endpoint) bool { return e.resolves(endpoint) }) {
			missing = append(missing, endpoint.String())
		}
	}
	return missing
}

// leftOut returns the addresses that the sidecar leaves out because connections failed.
func (c *Cluster) leftOut() []string {
	var addresses []string
	for _, endpoint := range c.Endpoints {
		if endpoint.LeftOut {
			addresses = append(addresses, endpoint.Address)
		}
	}
	return addresses
}
