package verify

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
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

// guard is called by [net.Dialer] with each address between the look-up of a name and the
// connection to it, so that a DNS server which answers differently the next time gains nothing.
// Whoever writes an EgressTarget chooses the host, and who owns the host chooses the addresses:
// without the guard, the controller would knock at doors of its own Pod and node for them.
func guard(allowLoopback bool) func(network, address string, _ syscall.RawConn) error {
	here := surroundings{}
	if !allowLoopback {
		here = look()
	}
	return func(_, address string, _ syscall.RawConn) error {
		parsed, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		to := parsed.Addr().Unmap()
		if kind := here.refusedKind(to); kind != "" && (!to.IsLoopback() || !allowLoopback) {
			return &refusedAddressError{to, kind}
		}
		return nil
	}
}

// surroundings are the addresses around this process that no partner has.
type surroundings struct {
	// own are those of the Pod, or of the node in its network.
	own []netip.Addr
	// apiServer is that of the Service kubernetes; not valid outside a cluster.
	apiServer netip.Addr
}

// look reads the surroundings. What can't be read is left out.
func look() surroundings {
	var here surroundings
	// The kubelet sets it:
	// https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api
	here.apiServer, _ = netip.ParseAddr(os.Getenv("KUBERNETES_SERVICE_HOST"))
	interfaces, _ := net.InterfaceAddrs()
	for _, one := range interfaces {
		if prefix, err := netip.ParsePrefix(one.String()); err == nil {
			here.own = append(here.own, prefix.Addr().Unmap())
		}
	}
	return here
}

// refusedKind says of which kind an address is that isn't connected to; empty for all others.
// Private addresses are not among them: a partner may be behind a VPN or in the same cluster. IPv6
// addresses that a gateway or a tunnel turns into a refused IPv4 one are refused too.
func (s surroundings) refusedKind(address netip.Addr) string {
	// A prefix contains no address with a zone.
	address = address.Unmap().WithZone("")
	if kind := s.plainKind(address); kind != "" {
		return kind
	}
	for _, carried := range embedded(address) {
		// The unused bits of one form read as zeros in another.
		if kind := s.plainKind(carried); kind != "" && kind != unspecifiedKind {
			return fmt.Sprintf("an address that carries %s, %s", carried, kind)
		}
	}
	// The prefix of a NAT64 gateway may be any of the operator's. Only single addresses are looked for
	// below it, for all others could be there by chance.
	if last := lastFour(address); last.IsValid() && isMetadata(last) {
		return fmt.Sprintf("an address that carries %s, %s", last, metadataKind)
	}
	return ""
}

const (
	unspecifiedKind = "an unspecified address"
	metadataKind    = "an address of a cloud's metadata service"
)

// plainKind is refusedKind of an address as it stands.
func (s surroundings) plainKind(address netip.Addr) string {
	within := func(prefix string) bool { return netip.MustParsePrefix(prefix).Contains(address) }
	switch {
	case address.IsLoopback():
		return "a loopback address"
	case address.IsLinkLocalUnicast():
		return "a link-local address"
	case address.IsMulticast():
		return "a multicast address"
	// Linux takes the address that stands for none as loopback; RFC 1122 §3.2.1.3 keeps all of
	// 0.0.0.0/8 for "this network".
	case address.IsUnspecified(), within("0.0.0.0/8"):
		return unspecifiedKind
	// RFC 1112 §4. The sinkhole addresses are there, so a resolver with Istio's DNS capture answers
	// with one.
	case within("240.0.0.0/4"):
		return "a reserved address (240.0.0.0/4)"
	// RFC 6890 §2.1 keeps it for protocols; 192.0.0.192 is a metadata service at Oracle.
	case within("192.0.0.0/24"):
		return "a reserved address (192.0.0.0/24)"
	case within("fec0::/10"):
		return "a site-local address, which is deprecated"
	case isMetadata(address):
		return metadataKind
	case slices.Contains(s.own, address):
		return "an address of the controller's own Pod"
	case address == s.apiServer:
		return "the address of the cluster's API server"
	default:
		return ""
	}
}

// isMetadata knows where clouds answer with credentials of the node, outside of the link-local
// addresses and among them.
func isMetadata(address netip.Addr) bool {
	return slices.ContainsFunc([]string{
		// All large clouds, and the credentials of ECS tasks and of EKS Pods:
		// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html,
		// https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html.
		"169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32",
		// The same, the resolver and the clock of AWS:
		// https://docs.aws.amazon.com/vpc/latest/userguide/aws-ip-ranges.html.
		"fd00:ec2::/32",
		// Google: https://cloud.google.com/compute/docs/metadata/querying-metadata.
		"fd20:ce::254/128",
		// Azure's wire server:
		// https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16.
		"168.63.129.16/32",
		// Alibaba: https://www.alibabacloud.com/help/ecs/user-guide/view-instance-metadata.
		"100.100.100.200/32",
		// Oracle and Scaleway.
		"fd00:c1::a9fe:a9fe/128", "fd00:42::42/128",
	}, func(prefix string) bool { return netip.MustParsePrefix(prefix).Contains(address) })
}

// embedded are the IPv4 addresses that an IPv6 address may be turned into on its way.
func embedded(address netip.Addr) []netip.Addr {
	if !address.Is6() {
		return nil
	}
	b := address.As16()
	within := func(prefix string) bool { return netip.MustParsePrefix(prefix).Contains(address) }
	at := func(first, second, third, fourth int) netip.Addr {
		return netip.AddrFrom4([4]byte{b[first], b[second], b[third], b[fourth]})
	}
	last := at(12, 13, 14, 15)
	switch {
	// IPv4-compatible (RFC 4291 §2.5.5.1), IPv4-translated (RFC 2765 §2.1) and NAT64 (RFC 6052 §2.1).
	case within("::/96"), within("::ffff:0:0:0/96"), within("64:ff9b::/96"):
		return []netip.Addr{last}
	// NAT64 for local use (RFC 8215), in each of the forms of RFC 6052 §2.2 that have room there.
	case within("64:ff9b:1::/48"):
		return []netip.Addr{at(6, 7, 9, 10), at(7, 9, 10, 11), at(9, 10, 11, 12), last}
	// 6to4 (RFC 3056 §2).
	case within("2002::/16"):
		return []netip.Addr{at(2, 3, 4, 5)}
	// Teredo (RFC 4380 §4): the server, and the client, whose bits are inverted.
	case within("2001::/32"):
		return []netip.Addr{at(4, 5, 6, 7), netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})}
	// ISATAP (RFC 5214 §6.1).
	case b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe:
		return []netip.Addr{last}
	}
	return nil
}

// lastFour is the IPv4 address in the last bytes of an IPv6 one; not valid for others.
func lastFour(address netip.Addr) netip.Addr {
	if !address.Is6() {
		return netip.Addr{}
	}
	b := address.As16()
	return netip.AddrFrom4([4]byte(b[12:]))
}
