package handshake

import (
	"fmt"
	"net/netip"
	"syscall"
)

// refusedAddressError says that a name leads to an address that no partner has.
type refusedAddressError struct {
	address netip.Addr
	kind    string
}

func (e *refusedAddressError) Error() string {
	return fmt.Sprintf("%s is %s", e.address, e.kind)
}

// guard is called by [net.Dialer] with each address between the look-up of a name and the connection to it, so that a DNS server which
// answers differently the next time gains nothing. Whoever writes an EgressTarget chooses the host, and who owns the host chooses the
// addresses: without the guard, the controller would knock at doors of its own Pod and node for them.
func guard(allowLoopback bool) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		parsed, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		to := parsed.Addr().Unmap()
		if kind := refusedKind(to); kind != "" && (!to.IsLoopback() || !allowLoopback) {
			return &refusedAddressError{to, kind}
		}
		return nil
	}
}

// refusedKind says of which kind an address is that isn't connected to; empty for all others. Private addresses are not among them: a
// partner may be behind a VPN or in the same cluster. Link-local ones include the metadata services of clouds, 169.254.169.254.
func refusedKind(address netip.Addr) string {
	switch {
	case address.IsLoopback():
		return "a loopback address"
	case address.IsLinkLocalUnicast():
		return "a link-local address"
	case address.IsMulticast():
		return "a multicast address"
	// Linux takes the address that stands for none as loopback; RFC 1122 §3.2.1.3 keeps all of 0.0.0.0/8 for "this network".
	case address.IsUnspecified(), netip.PrefixFrom(netip.AddrFrom4([4]byte{}), 8).Contains(address):
		return "an unspecified address"
	// RFC 1112 §4. The sinkhole addresses are there, so a resolver with Istio's DNS capture answers with one.
	case netip.PrefixFrom(netip.AddrFrom4([4]byte{240}), 4).Contains(address):
		return "a reserved address (240.0.0.0/4)"
	default:
		return ""
	}
}
