package verify

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"mtls.egress/webhook/internal/egress"
)

// refusedAddressError means that a name resolves to an address that a partner can't have.
type refusedAddressError struct {
	address netip.Addr
	kind    string
}

func (e *refusedAddressError) Error() string {
	return fmt.Sprintf("%s is %s", e.address, e.kind)
}

// guard returns a function that [net.Dialer] calls with each address after the lookup of a name and
// before the connection, which prevents DNS rebinding. The author of an EgressTarget chooses the
// host, and the owner of the host chooses the addresses. Without the guard, they could make the
// controller connect to services of its own Pod and node.
func guard(allowLoopback bool, sinkhole egress.Sinkhole) func(network, address string, _ syscall.RawConn) error {
	here := surroundings{}
	if !allowLoopback {
		here = readSurroundings()
	}
	here.sinkhole = sinkhole
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

// surroundings are the addresses in the environment of this process that a partner can't have.
type surroundings struct {
	// own are the addresses of the Pod, or of the node if the Pod uses its network.
	own []netip.Addr
	// apiServer is the address of the Service kubernetes. It is invalid outside a cluster.
	apiServer netip.Addr
	// sinkhole are the ranges of the sinkhole addresses.
	sinkhole egress.Sinkhole
}

// readSurroundings returns the surroundings. It leaves out addresses that can't be read.
func readSurroundings() surroundings {
	var here surroundings
	// The kubelet sets the variable:
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

// refusedKind returns the kind of an address that must not be connected to, or "" for all others.
// Private addresses are allowed, because a partner can be behind a VPN or in the same cluster. IPv6
// addresses that a gateway or tunnel translates to a refused IPv4 address are refused too.
func (s surroundings) refusedKind(address netip.Addr) string {
	// A prefix contains no address with a zone.
	address = address.Unmap().WithZone("")
	if kind := s.plainKind(address); kind != "" {
		return kind
	}
	for _, carried := range embedded(address) {
		// The unused bits of one form are zeros in another.
		if kind := s.plainKind(carried); kind != "" && kind != unspecifiedKind {
			return fmt.Sprintf("an address that embeds %s, %s", carried, kind)
		}
	}
	// A NAT64 gateway can have any prefix of the operator. Below an unknown prefix, only single
	// addresses are refused, because ranges could match by chance.
	if last := lastFour(address); last.IsValid() && isMetadata(last) {
		return fmt.Sprintf("an address that embeds %s, %s", last, metadataKind)
	}
	return ""
}

const (
	unspecifiedKind = "an unspecified address"
	metadataKind    = "an address of a cloud's metadata service"
)

// plainKind is refusedKind without translations of the address.
func (s surroundings) plainKind(address netip.Addr) string {
	within := func(prefix string) bool { return netip.MustParsePrefix(prefix).Contains(address) }
	switch {
	case address.IsLoopback():
		return "a loopback address"
	case address.IsLinkLocalUnicast():
		return "a link-local address"
	case address.IsMulticast():
		return "a multicast address"
	// Linux treats the unspecified address as loopback. RFC 1122 §3.2.1.3 reserves all of 0.0.0.0/8
	// for "this network".
	case address.IsUnspecified(), within("0.0.0.0/8"):
		return unspecifiedKind
	// A resolver with Istio's DNS capture returns one.
	case s.sinkhole.Contains(address):
		return fmt.Sprintf("a sinkhole address (%s)", s.sinkhole)
	// Istio allocates the first to ServiceEntries. RFC 1112 §4 reserves the second.
	case within("240.240.0.0/16"), within("255.0.0.0/8"):
		return "a reserved address (240.0.0.0/4)"
	// RFC 6890 §2.1 reserves it for protocols. 192.0.0.192 is a metadata service at Oracle.
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

// isMetadata reports whether a cloud serves credentials of the node at the address. It covers
// link-local addresses and others.
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

// embedded returns the IPv4 addresses that an IPv6 address may be translated to.
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

// lastFour returns the IPv4 address in the last bytes of an IPv6 address. It is invalid for other
// addresses.
func lastFour(address netip.Addr) netip.Addr {
	if !address.Is6() {
		return netip.Addr{}
	}
	b := address.As16()
	return netip.AddrFrom4([4]byte(b[12:]))
}
