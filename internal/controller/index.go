package controller

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/target"
)

// The indexes of the cache.
const (
	// indexPodLabel finds Pods by the label of a host that they ask for.
	indexPodLabel = "hostLabel"
	// indexClaim finds Istio objects by what they lay claim to: see claims.
	indexClaim = "claim"
	// indexConcern finds EgressTargets by the claims that concern them: see concerns.
	indexConcern = "concern"
)

// claimSinkhole is the claim of a ServiceEntry to addresses from which the sinkhole addresses are taken.
const claimSinkhole = "240.0.0.0/4"

// claimServerFirst starts the claim of a ServiceEntry without an address to a port on which sidecars read no HTTP then.
const claimServerFirst = "server-first:"

// podLabels are the host labels of a Pod.
func podLabels(object client.Object) []string {
	var keys []string
	for key := range object.GetLabels() {
		if strings.HasPrefix(key, target.LabelHostPrefix) {
			keys = append(keys, key)
		}
	}
	return keys
}

// podHosts are the hosts that a Pod may matter to: those that its annotations ask for and those that its labels spell out,
// as somebody may have edited the annotations of a running Pod. A shortened label spells out no host, which costs nothing:
// nobody asks for the host that it seems to be.
func podHosts(pod client.Object) []string {
	// A Pod whose annotations can't be read was not realised from them; its labels still count.
	intent, _, _ := target.ParseIntent(pod.GetAnnotations(), field.NewPath("metadata", "annotations"))
	hosts := intent.Hosts()
	for _, key := range podLabels(pod) {
		hosts = append(hosts, strings.TrimPrefix(key, target.LabelHostPrefix))
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

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

// claimsToFind are the claims by which an object of the cache is found: see claimsBeyondItsHost.
func claimsToFind(object client.Object) []string {
	content := unpacked(object)
	if content == nil {
		return nil
	}
	return claimsBeyondItsHost(content)
}

// claimsBeyondItsHost are the claims of an Istio object. Those of a private object with the name of a
// generated one are left out, as far as they concern the host of that name: it is read by its name for that host, and
// matters to no other namespace (see claiming). Nearly all objects are such, and an index that holds one object for
// each of its keys is as large as they are.
func claimsBeyondItsHost(content *unstructured.Unstructured) []string {
	if reachesOthers(content) {
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

// concernsOf are the claims of Istio objects that concern a target: those that concern its host, and one to its app port.
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

// reachesOthers says whether an Istio object may matter in other namespaces than its own. By default it does.
// https://istio.io/latest/docs/reference/config/networking/service-entry/#ServiceEntry-export_to
func reachesOthers(object *unstructured.Unstructured) bool {
	exportTo, _, err := unstructured.NestedStringSlice(object.Object, "spec", "exportTo")
	if err != nil || len(exportTo) == 0 {
		return true
	}
	return slices.ContainsFunc(exportTo, func(to string) bool { return to != "." && to != "~" && to != object.GetNamespace() })
}
