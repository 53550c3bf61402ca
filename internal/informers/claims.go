package informers

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/target"
)

// claimSinkhole is the claim of a ServiceEntry to addresses from which the sinkhole addresses are taken.
const claimSinkhole = "240.0.0.0/4"

// claimServerFirst starts the claim of a ServiceEntry without an address to a port on which sidecars read no HTTP then.
const claimServerFirst = "server-first:"

// claims are what an Istio object lays claim to, roughly enough to be looked up: a host in lower case, a wildcard over a
// domain, the wildcard over everything, or the sinkhole addresses. The generated ones claim their hosts like any other.
func claims(content *unstructured.Unstructured) []string {
	var found []string
	for _, host := range objectHosts(content) {
		found = append(found, claim(strings.TrimSuffix(strings.ToLower(host), ".")))
	}
	if claimsSinkhole(content) {
		found = append(found, claimSinkhole)
	}
	found = append(found, serverFirstClaims(content)...)
	slices.Sort(found)
	return slices.Compact(found)
}

// claimsToFind returns the claims by which an object of the cache is found: see ClaimsBeyondItsHost.
func claimsToFind(object client.Object) []string {
	content := Unpacked(object)
	if content == nil {
		return nil
	}
	return ClaimsBeyondItsHost(content)
}

// ClaimsBeyondItsHost returns the claims of an Istio object, without those of a private object with the name of a generated
// one to the host of that name: such an object is read by its name for that host, and matters to no other namespace (see
// claiming). Nearly all objects are such, and an index that holds one object for
// each of its keys is as large as they are.
func ClaimsBeyondItsHost(content *unstructured.Unstructured) []string {
	if ReachesOthers(content) {
		return claims(content)
	}
	return slices.DeleteFunc(claims(content), func(claim string) bool {
		name := content.GetName()
		switch claim {
		case claimSinkhole:
			return holdsOwnSinkhole(content)
		case target.AnchorHost:
			_, generated := target.ObjectHost(name)
			return generated || name == target.AnchorName
		}
		host := strings.TrimSuffix(claim, "."+target.MeshDomain)
		return name == target.ObjectName(host) || name == target.ListenerName(host)
	})
}

// holdsOwnSinkhole reports whether the ServiceEntry has the sinkhole address of the host that its name stands for, and
// no other address, and belongs to that host's EgressTarget.
func holdsOwnSinkhole(serviceEntry *unstructured.Unstructured) bool {
	addresses, _, err := unstructured.NestedStringSlice(serviceEntry.Object, "spec", "addresses")
	host, generated := target.ObjectHost(serviceEntry.GetName())
	return err == nil && generated && mesh.OwnedFor(serviceEntry, host) &&
		slices.Equal(addresses, []string{target.SinkholeAddress(host).String()})
}

// objectHosts are the hosts of an Istio object that sidecars see. What has another form than the CRD admits names none.
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

// claim widens a wildcard within a label, such as *-api.example.com, to the one over the whole domain, and the host of
// a listener, which has its port before our domain, to the host of the target's ServiceEntry.
func claim(host string) string {
	if rest, ours := strings.CutSuffix(host, "."+target.MeshDomain); ours && !strings.HasPrefix(host, "*") {
		if dot := strings.LastIndexByte(rest, '.'); dot >= 0 && isPort(rest[dot+1:]) {
			rest = rest[:dot]
		}
		return rest + "." + target.MeshDomain
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

// isPort reports whether a label is that of a port, which the hash of a long host is not.
func isPort(label string) bool {
	_, err := strconv.ParseUint(label, 10, 16)
	return err == nil
}

// claimsSinkhole reports whether a ServiceEntry holds an address of 240.0.0.0/4.
func claimsSinkhole(object *unstructured.Unstructured) bool {
	if object.GetKind() != mesh.KindServiceEntry {
		return false
	}
	addresses, _, err := unstructured.NestedStringSlice(object.Object, "spec", "addresses")
	if err != nil {
		return false
	}
	classE := netip.MustParsePrefix(claimSinkhole)
	return slices.ContainsFunc(addresses, func(text string) bool {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			return prefix.Overlaps(classE)
		}
		address, err := netip.ParseAddr(text)
		return err == nil && classE.Contains(address.Unmap())
	})
}

// serverFirstClaims are the claims of a ServiceEntry without an address to ports with a protocol as mesh.ServerFirst says.
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

// concernsOf returns the claims of Istio objects that concern a target: those that concern its host, and one to its app port.
func concernsOf(t target.Target) []string {
	return append(concerns(t.Host), fmt.Sprint(claimServerFirst, t.AppPort))
}

// concerns are the claims of Istio objects that concern host: the host itself, the names by which the mesh knows it and
// the anchor, a wildcard over each of their parents, the wildcard over everything, and the sinkhole addresses.
func concerns(host string) []string {
	all := []string{host, target.MeshHost(host), target.AnchorHost, "*", claimSinkhole}
	for _, name := range []string{host, target.MeshHost(host)} {
		for rest, found := name, true; found; {
			if _, rest, found = strings.Cut(rest, "."); found {
				all = append(all, "*."+rest)
			}
		}
	}
	return all
}

// ReachesOthers reports whether an Istio object may matter in other namespaces than its own. By default it does.
// https://istio.io/latest/docs/reference/config/networking/service-entry/#ServiceEntry-export_to
func ReachesOthers(object *unstructured.Unstructured) bool {
	exportTo, _, err := unstructured.NestedStringSlice(object.Object, "spec", "exportTo")
	if err != nil || len(exportTo) == 0 {
		return true
	}
	return slices.ContainsFunc(exportTo, func(to string) bool { return to != "." && to != "~" && to != object.GetNamespace() })
}
