package informers

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// claimSinkhole is the claim of an object to addresses in the ranges of the sinkhole addresses.
const claimSinkhole = "sinkhole"

// claimServerFirst is the prefix of the claim of a ServiceEntry without addresses to a port on
// which sidecars then don't parse HTTP.
const claimServerFirst = "server-first:"

// claims returns the claims of an Istio object, coarse enough for an index: a host in lower case, a
// wildcard for a domain, the wildcard for everything, or the sinkhole addresses. Generated objects
// claim their hosts like any others.
func claims(content *unstructured.Unstructured, sinkhole egress.Sinkhole) []string {
	var found []string
	for _, host := range objectHosts(content) {
		found = append(found, claim(mesh.NormalHost(host)))
	}
	if claimsSinkhole(content, sinkhole) {
		found = append(found, claimSinkhole)
	}
	found = append(found, serverFirstClaims(content)...)
	slices.Sort(found)
	return slices.Compact(found)
}

// claimsToFind returns the function that returns the index keys of a cached object. See
// ClaimsBeyondItsHost.
func claimsToFind(sinkhole egress.Sinkhole) client.IndexerFunc {
	return func(object client.Object) []string {
		content, ok := object.(*unstructured.Unstructured)
		if !ok {
			return nil
		}
		return ClaimsBeyondItsHost(content, sinkhole)
	}
}

// ClaimsBeyondItsHost returns the claims of an Istio object. If a private object has the name of a
// generated object, its claims to the host of that name are left out: it is read by name for that
// host, and affects no other namespace (see claiming). Nearly all objects are of this kind, and an
// index with one object for each key would be as large as the objects.
func ClaimsBeyondItsHost(content *unstructured.Unstructured, sinkhole egress.Sinkhole) []string {
	if ReachesOthers(content) {
		return claims(content, sinkhole)
	}
	return slices.DeleteFunc(claims(content, sinkhole), func(claim string) bool {
		name := content.GetName()
		switch claim {
		case claimSinkhole:
			return holdsOwnSinkhole(content, sinkhole)
		case egress.AnchorHost:
			_, generated := egress.ObjectHost(name)
			return generated || name == egress.AnchorName
		}
		host := strings.TrimSuffix(claim, "."+egress.MeshDomain)
		return name == egress.ObjectName(host) || name == egress.ListenerName(host)
	})
}

// holdsOwnSinkhole reports whether the ServiceEntry belongs to the EgressTarget of the host in its
// name, and has only the sinkhole address of that host.
func holdsOwnSinkhole(serviceEntry *unstructured.Unstructured, sinkhole egress.Sinkhole) bool {
	addresses, _, err := unstructured.NestedStringSlice(serviceEntry.Object, "spec", "addresses")
	host, generated := egress.ObjectHost(serviceEntry.GetName())
	return err == nil && generated && mesh.OwnedFor(serviceEntry, host) &&
		slices.Equal(addresses, []string{sinkhole.Address(host).String()})
}

// objectHosts returns the hosts of an Istio object that sidecars use, or nil if the object does not
// conform to the CRD.
func objectHosts(object *unstructured.Unstructured) []string {
	if object.GetKind() == mesh.KindDestinationRule {
		host, found, err := unstructured.NestedString(object.Object, "spec", "host")
		if err != nil || !found {
			return nil
		}
		return []string{host}
	}
	if object.GetKind() == mesh.KindVirtualService && !reachesSidecars(object) {
		return nil
	}
	hosts, _, err := unstructured.NestedStringSlice(object.Object, "spec", "hosts")
	if err != nil {
		return nil
	}
	return hosts
}

// claim returns the claim for a host. It widens a wildcard within a label, such as
// *-api.example.com, to the wildcard for the domain. It replaces the host of a listener, which has
// the port before our domain, with the host of the target's ServiceEntry.
func claim(host string) string {
	if rest, ours := strings.CutSuffix(host, "."+egress.MeshDomain); ours && !strings.HasPrefix(host, "*") {
		if dot := strings.LastIndexByte(rest, '.'); dot >= 0 && isPort(rest[dot+1:]) {
			rest = rest[:dot]
		}
		return rest + "." + egress.MeshDomain
	}
	if !strings.HasPrefix(host, "*") {
		return host
	}
	_, domain, found := strings.Cut(host, ".")
	if !found {
		return "*"
	}
	return "*." + domain
}

// isPort reports whether a label is a port. The hash of a long host never is.
func isPort(label string) bool {
	_, err := strconv.ParseUint(label, 10, 16)
	return err == nil
}

// claimsSinkhole reports whether a ServiceEntry has an address in the ranges of the sinkhole
// addresses.
func claimsSinkhole(object *unstructured.Unstructured, sinkhole egress.Sinkhole) bool {
	if object.GetKind() != mesh.KindServiceEntry {
		return false
	}
	addresses, _, err := unstructured.NestedStringSlice(object.Object, "spec", "addresses")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(addresses, func(text string) bool {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			return sinkhole.Overlaps(prefix)
		}
		address, err := netip.ParseAddr(text)
		return err == nil && sinkhole.Contains(address)
	})
}

// serverFirstClaims returns the claims of a ServiceEntry without addresses to ports with a
// server-first protocol. See mesh.ServerFirst.
func serverFirstClaims(object *unstructured.Unstructured) []string {
	if object.GetKind() != mesh.KindServiceEntry {
		return nil
	}
	addresses, _, addressesErr := unstructured.NestedStringSlice(object.Object, "spec", "addresses")
	ports, _, err := unstructured.NestedSlice(object.Object, "spec", "ports")
	if addressesErr != nil || err != nil || len(addresses) > 0 {
		return nil
	}
	var found []string
	for _, port := range ports {
		fields, _ := port.(map[string]any)
		if protocol, _ := fields["protocol"].(string); mesh.ServerFirst(protocol) {
			found = append(found, fmt.Sprint(claimServerFirst, fields["number"]))
		}
	}
	return found
}

// concernsOf returns the claims of Istio objects that concern a target: those that concern its
// host, and the one to its app port.
func concernsOf(t egress.Target) []string {
	return append(concerns(t.Host), fmt.Sprint(claimServerFirst, t.AppPort))
}

// concerns returns the claims of Istio objects that concern host: the host itself, its name in the
// mesh, the anchor, wildcards for each of their parent domains, the wildcard for everything, and
// the sinkhole addresses.
func concerns(host string) []string {
	all := []string{host, egress.MeshHost(host), egress.AnchorHost, "*", claimSinkhole}
	for _, name := range []string{host, egress.MeshHost(host)} {
		for rest, found := name, true; found; {
			if _, rest, found = strings.Cut(rest, "."); found {
				all = append(all, "*."+rest)
			}
		}
	}
	return all
}

// ReachesOthers reports whether an Istio object may affect other namespaces, as it does by default.
// https://istio.io/latest/docs/reference/config/networking/service-entry/#ServiceEntry-export_to
func ReachesOthers(object *unstructured.Unstructured) bool {
	exportTo, _, err := unstructured.NestedStringSlice(object.Object, "spec", "exportTo")
	if err != nil || len(exportTo) == 0 {
		return true
	}
	return slices.ContainsFunc(exportTo, func(to string) bool {
		return to != "." && to != "~" && to != object.GetNamespace()
	})
}
