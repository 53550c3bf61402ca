package adopt

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"mtls.egress/webhook/internal/check"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// set holds the hand-written objects of one host of a namespace, and what was found in them.
type set struct {
	key

	world    *check.World
	proposal Proposal

	rules    []check.Typed[*networkingv1.DestinationRule]
	services []check.Typed[*networkingv1.VirtualService]
	entries  []check.Typed[*networkingv1.ServiceEntry]

	calls calls
	tls   *networking.ClientTLSSettings
	// passedOver are the workloads with the credential whose calls don't take the route.
	passedOver []string
}

// collect returns the objects of the namespace for the host.
func collect(world *check.World, k key) *set {
	s := &set{key: k, world: world}
	for _, rule := range world.DestinationRules {
		if rule.Location.Namespace == k.namespace && mesh.NormalHost(rule.Value.Spec.Host) == k.host &&
			!isGenerated(rule.Object) {
			s.rules = append(s.rules, rule)
		}
	}
	for _, service := range world.VirtualServices {
		if service.Location.Namespace == k.namespace && hasHost(service.Value.Spec.Hosts, k.host) &&
			!isGenerated(service.Object) {
			s.services = append(s.services, service)
		}
	}
	for _, entry := range world.ServiceEntries {
		if entry.Location.Namespace == k.namespace && hasHost(entry.Value.Spec.Hosts, k.host) &&
			!isGenerated(entry.Object) {
			s.entries = append(s.entries, entry)
		}
	}
	return s
}

func hasHost(hosts []string, host string) bool {
	return slices.ContainsFunc(hosts, func(other string) bool { return mesh.NormalHost(other) == host })
}

// checkHost refuses hosts that an EgressTarget can't have.
func (s *set) checkHost() {
	if strings.Contains(s.host, "*") {
		s.refuse(fmt.Sprintf("the %s has the wildcard host %s, and an EgressTarget is one host; write the objects for "+
			"each host that the apps call, or write one EgressTarget for each and annotate the workloads by hand",
			reference(s.rules[0].Object), s.host))
		return
	}
	if _, err := egress.NormalizeHost(s.host); err != nil {
		s.refuse(fmt.Sprintf("the host %q of the %s %s", s.host, reference(s.rules[0].Object), err))
	}
}

// checkNames refuses sets with several objects of a kind, because Istio's choice between them
// depends on their ages, and objects with the names of generated ones.
func (s *set) checkNames() {
	several := func(kind string, names []string) {
		if len(names) > 1 {
			s.refuse(fmt.Sprintf("%s of the namespace have the host %s (%s), and Istio merges them or follows one of "+
				"them; keep one", egress.Counted(len(names), kind), s.host, strings.Join(names, ", ")))
		}
	}
	several(mesh.KindDestinationRule, namesOf(s.rules))
	several(mesh.KindVirtualService, namesOf(s.services))
	several(mesh.KindServiceEntry, namesOf(s.entries))
	for _, name := range slices.Concat(namesOf(s.rules), namesOf(s.services), namesOf(s.entries)) {
		if name == egress.ObjectName(s.host) || name == egress.ListenerName(s.host) || name == egress.AnchorName {
			s.refuse(fmt.Sprintf("the object %s has the name of a generated one, so the controller can't write its own; "+
				"rename it", name))
		}
	}
	if len(s.entries) == 0 {
		s.refuse(fmt.Sprintf("no ServiceEntry of the namespace has the host %s, so the TLS settings of the %s never apply "+
			"by themselves; add the ServiceEntry to the input, or annotate the workloads and delete the objects",
			s.host, reference(s.rules[0].Object)))
	}
}

func namesOf[T any](objects []check.Typed[T]) []string {
	names := make([]string, len(objects))
	for n, object := range objects {
		names[n] = object.Location.Name
	}
	return names
}

// addObjects adds the objects to the proposal, in the order in which they are deleted: without the
// ServiceEntry, calls of a Pod that still depends on the set get 503, and can't leave in plain
// text.
func (s *set) addObjects() {
	entry := s.entries[0]
	s.proposal.Objects = append(s.proposal.Objects,
		Object{Object: entry.Object, Others: others(entry.Value.Spec.Hosts, s.host)})
	for _, service := range s.services {
		s.proposal.Objects = append(s.proposal.Objects, Object{
			Object: service.Object, Others: others(service.Value.Spec.Hosts, s.host),
			Private: isPrivate(service.Value.Spec.ExportTo, s.namespace),
		})
	}
	s.proposal.Objects = append(s.proposal.Objects, Object{Object: s.rules[0].Object})
}

func others(hosts []string, host string) []string {
	return slices.DeleteFunc(slices.Clone(hosts), func(other string) bool { return mesh.NormalHost(other) == host })
}

// isPrivate reports whether an object is exported to its own namespace, and not to all.
func isPrivate(exportTo []string, namespace string) bool {
	return !slices.Contains(exportTo, "*") && (slices.Contains(exportTo, ".") ||
		namespace != "" && slices.Contains(exportTo, namespace))
}
