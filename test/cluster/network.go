package cluster

import (
	"fmt"
	"net"
	"os"
)

// familyVariable names the address family of a cluster that Start starts: ipv4 or ipv6. Pods,
// Services and the node have addresses of that family only. Default: ipv4.
const familyVariable = "MTLS_EGRESS_NODE_FAMILY"

const (
	familyIPv4 = "ipv4"
	familyIPv6 = "ipv6"
)

// network holds the addresses of the node and the cluster. The node's network is its own, so they
// can't clash with anybody's.
type network struct {
	ipv6 bool
	// node is the address of the node, pods and services are CIDRs.
	node, pods, services string
	// api, dns, partner and gateway are cluster IPs: of the Service kubernetes, of the cluster's DNS,
	// and those that its DNS gives for the names of partners.
	api, dns, partner, gateway string
	// wan is the address of the wire that the default route leads to, with its prefix length. nobody
	// is the next hop there, which does not exist.
	wan, nobody string
}

// newNetwork returns the network of the family in familyVariable.
func newNetwork() (network, error) {
	switch family := os.Getenv(familyVariable); family {
	case "", familyIPv4:
		return network{
			node: "10.250.0.1", pods: "10.244.0.0/24", services: "10.96.0.0/16",
			api: "10.96.0.1", dns: "10.96.0.10", partner: "10.96.0.80", gateway: "10.96.0.81",
			wan: "198.51.100.1/24", nobody: "198.51.100.2",
		}, nil
	case familyIPv6:
		return network{
			ipv6: true,
			node: "fd00:10:250::1", pods: "fd00:10:244::/64", services: "fd00:10:96::/112",
			api: "fd00:10:96::1", dns: "fd00:10:96::a", partner: "fd00:10:96::80", gateway: "fd00:10:96::81",
			wan: "2001:db8:1::1/64", nobody: "2001:db8:1::2",
		}, nil
	default:
		return network{}, fmt.Errorf("%s is %q; set it to %s or %s", familyVariable, family, familyIPv4, familyIPv6)
	}
}

func (n network) apiServer() string { return "https://" + net.JoinHostPort(n.node, "6443") }

// values are those of the manifests that depend on the family.
func (n network) values() map[string]string {
	values := map[string]string{"DEFAULT_ROUTE": "0.0.0.0/0", "RECORD": "A", "OTHER_RECORD": "AAAA"}
	if n.ipv6 {
		values = map[string]string{"DEFAULT_ROUTE": "::/0", "RECORD": "AAAA", "OTHER_RECORD": "A"}
	}
	values["ADDRESS"], values["PODS"], values["DNS"] = n.node, n.pods, n.dns
	return values
}

// sysctls are those of the node's network namespace.
func (n network) sysctls() map[string]string {
	if !n.ipv6 {
		return map[string]string{"net/ipv4/ip_forward": "1"}
	}
	return map[string]string{
		"net/ipv6/conf/all/forwarding": "1",
		// Nobody else has the addresses, so nothing waits for the search for duplicates.
		"net/ipv6/conf/all/accept_dad": "0", "net/ipv6/conf/default/accept_dad": "0",
	}
}

// commands are those of ip that make the network. The node's address is on lo. The default route
// leads to a wire at whose other end nobody is, so what leaves the node for an address that is not
// routed is dropped silently, as in most clusters, and nothing reaches the host's network.
func (n network) commands() []string {
	commands := []string{
		"link set lo up",
		"addr add " + n.node + "/" + n.bits() + " dev lo",
		"link add wan type veth peer name nobody",
		"addr add " + n.wan + " dev wan",
		"link set wan up",
		"link set nobody up",
		"neigh add " + n.nobody + " lladdr 02:00:00:00:00:01 dev wan",
		"route add default via " + n.nobody + " dev wan",
	}
	if n.ipv6 {
		commands[len(commands)-1] = "-6 " + commands[len(commands)-1]
	}
	return commands
}

// bits is the prefix length of a single address.
func (n network) bits() string {
	if n.ipv6 {
		return "128"
	}
	return "32"
}
