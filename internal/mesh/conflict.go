package mesh

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"istio.io/api/label"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/internal/egress"
)

// DefaultRootNamespace is Istio's root namespace where the mesh configuration doesn't say
// otherwise.
const DefaultRootNamespace = "istio-system"

// Others are the Istio objects among which a target's objects stand: those of the target's
// namespace and those that other namespaces may export to it, our own among them. Without our own,
// every other object counts as older.
type Others struct {
	// Revisions are those of the control planes that serve the target's Pods. Objects whose label
	// istio.io/rev names another one are left out, since these control planes don't read them
	// (https://istio.io/latest/docs/setup/upgrade/canary/). Default: not known, and every object
	// counts.
	Revisions []string
	// Mesh is the mesh configuration. Default: that of a mesh with Istio's own defaults.
	Mesh             Config
	VirtualServices  []*networkingv1.VirtualService
	DestinationRules []*networkingv1.DestinationRule
	ServiceEntries   []*networkingv1.ServiceEntry
	Sidecars         []*networkingv1.Sidecar
	// Services are those that hold an external address or have the target's host as their short name.
	Services []Service
	// RootNamespace is the mesh's root namespace, whose Sidecar applies where a namespace has none.
	// Default: istio-system.
	RootNamespace string
}

// Service is what matters here of a Service of Kubernetes.
type Service struct {
	Namespace, Name string
	// Addresses are its external addresses: spec.externalIPs, spec.loadBalancerIP, and those of its
	// status.
	Addresses []string
}

// Effect is what an object and ours do to each other.
type Effect string

const (
	// WinsOverOurs says that Istio follows the object where it would have followed ours.
	WinsOverOurs Effect = "WinsOverOurs"
	// HidesOurs says that the object keeps ours from the Pods of the target.
	HidesOurs Effect = "HidesOurs"
	// HiddenByOurs says that the object no longer has the effect that its author meant. The target
	// itself works.
	HiddenByOurs Effect = "HiddenByOurs"
	// BreaksOurs says that the object changes what ours do, or keeps them from being written.
	BreaksOurs Effect = "BreaksOurs"
)

// Conflict is one object of somebody else's that stands in the way of a target's objects, or in
// whose way they stand.
type Conflict struct {
	// Kind, Namespace and Name say which object.
	Kind, Namespace, Name string
	// Field is the path of the field that makes it one, as in spec.hosts[0].
	Field string
	// Effect is what the two do to each other.
	Effect Effect
	// Message is a sentence for a person: object and field, what happens to which calls, and what
	// would be right.
	Message string
	// Closes reports whether the target has to be closed, as calls of its Pods could leave without its
	// mutual TLS if Objects stood, or since the host is not a partner's. Closed returns what to write
	// then.
	Closes bool
}

// Conflicts returns the objects among others that would win over the objects of t, hide them, be
// hidden by them or break them; one conflict for each such object, by kind, namespace and name. The
// target's own objects are left out. An object that has the name of one of ours, or of the anchor,
// and another owner is a conflict whatever it says. ServiceEntries and DestinationRules for the
// partner's own host are not conflicts: ours stand under egress.MeshHost, where Istio doesn't mix
// them with others. What Istio does with several objects for one host is written in
// pilot/pkg/model/push_context.go, destination_rule.go and sidecar.go of
// https://github.com/istio/istio.
func Conflicts(t egress.Target, others Others) []Conflict {
	s := search{
		target:       t,
		revisions:    others.Revisions,
		mesh:         others.Mesh,
		name:         egress.ObjectName(t.Host),
		listenerName: egress.ListenerName(t.Host),
		ourHosts:     []string{egress.MeshHost(t.Host), egress.ListenerHost(t.Host, t.AppPort), egress.AnchorHost},
		podLabels:    map[string]string{egress.HostLabel(t.Host): egress.LabelValue, egress.LabelInjected: egress.LabelValue},
		root:         or(others.RootNamespace, DefaultRootNamespace),
	}
	s.registryOnly = others.Mesh.RegistryOnly || slices.ContainsFunc(others.Sidecars, s.refusesUnknown)
	var conflicts []Conflict
	conflicts = append(conflicts, s.virtualServices(others.VirtualServices)...)
	conflicts = append(conflicts, s.destinationRules(others.DestinationRules)...)
	conflicts = append(conflicts, s.serviceEntries(others.ServiceEntries)...)
	conflicts = append(conflicts, s.sidecars(others.Sidecars)...)
	conflicts = append(conflicts, s.services(others.Services)...)
	slices.SortStableFunc(conflicts, func(a, b Conflict) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return conflicts
}

// search is the target for which conflicts are looked for, and what follows from it.
type search struct {
	target    egress.Target
	revisions []string
	mesh      Config
	// registryOnly reports whether sidecars of the target's Pods may refuse calls to unknown hosts.
	registryOnly bool
	// name is that of the target's objects, listenerName that of its listener.
	name, listenerName string
	// ourHosts are the hosts of the target's ServiceEntry and DestinationRule, of its listener and of
	// the anchor.
	ourHosts []string
	// podLabels are the labels that every Pod of the target has. It may have any others.
	podLabels map[string]string
	root      string
}

// ours reports whether obj is one of the target's own objects.
func (s search) ours(obj metav1.Object) bool {
	return s.hasOurName(obj) && OwnedFor(obj, s.target.Host)
}

// read reports whether the control plane of the target's Pods reads obj.
// https://github.com/istio/istio/blob/1.30.3/pkg/config/model.go (ObjectInRevision)
func (s search) read(obj metav1.Object) bool {
	revision, labeled := obj.GetLabels()[label.IoIstioRev.Name]
	return !labeled || len(s.revisions) == 0 || slices.Contains(s.revisions, revision)
}

// foreign splits objects into those that aren't ours and ours: the zero value when it isn't written
// yet. An object that has a name of ours counts also when the control plane doesn't read it.
func foreign[T interface {
	comparable
	metav1.Object
}](s search, objects []T) (theirs []T, ours T) {
	var none T
	for _, obj := range objects {
		switch {
		case obj == none:
		case s.ours(obj):
			ours = obj
		case s.read(obj) || s.hasOurName(obj) || s.hasListenerName(obj) || s.hasAnchorName(obj):
			theirs = append(theirs, obj)
		}
	}
	return theirs, ours
}

// hasOurName reports whether obj has the name that one of our objects needs.
func (s search) hasOurName(obj metav1.Object) bool {
	return obj.GetNamespace() == s.target.Namespace && obj.GetName() == s.name
}

// hasListenerName reports whether obj has the name that the listener of the target needs.
func (s search) hasListenerName(obj metav1.Object) bool {
	return obj.GetNamespace() == s.target.Namespace && obj.GetName() == s.listenerName
}

// hasAnchorName reports whether obj has the name that the anchor of the namespace needs.
func (s search) hasAnchorName(obj metav1.Object) bool {
	return obj.GetNamespace() == s.target.Namespace && obj.GetName() == egress.AnchorName
}

func (s search) nameTaken(kind string, obj metav1.Object) Conflict {
	return s.conflict(kind, obj, "metadata.name", BreaksOurs,
		"has the name that ours needs and does not belong to the EgressTarget, so it is left as it is, ours can't be written, and calls to %s fail; rename or delete it",
		s.target.Host)
}

// reserved is for objects that name a host of generated objects, or a wildcard over one.
func (s search) reserved(kind string, obj metav1.Object, field, host string) Conflict {
	return s.conflict(kind, obj, field, BreaksOurs,
		"names %s, which only the controller may use, so Istio may follow it in place of the generated objects, and calls to %s may fail; remove the host from it",
		host, s.target.Host)
}

// conflict makes the sentence of a conflict: the object, the field, and the rest from format and
// args.
func (s search) conflict(kind string, obj metav1.Object, field string, effect Effect, format string, args ...any) Conflict {
	return Conflict{
		Kind:      kind,
		Namespace: obj.GetNamespace(),
		Name:      obj.GetName(),
		Field:     field,
		Effect:    effect,
		Message:   fmt.Sprintf("%s %s (%s) ", kind, reference(obj), field) + fmt.Sprintf(format, args...),
	}
}

// closing returns c with Closes set.
func (c Conflict) closing() Conflict {
	c.Closes = true
	return c
}

// Reference returns kind, namespace and name of the object, for a sentence.
func (c Conflict) Reference() string {
	return c.Kind + " " + reference(&metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name})
}

func reference(obj metav1.Object) string {
	if obj.GetNamespace() == "" {
		return obj.GetName()
	}
	return obj.GetNamespace() + "/" + obj.GetName()
}

// reach is how an object gets to a namespace. Istio asks for VirtualServices and ServiceEntries in
// this order.
type reach int

const (
	// unseen: not at all.
	unseen reach = iota
	// private: it stands in the namespace and isn't for all namespaces.
	private
	// exported: it stands elsewhere and names the namespace.
	exported
	// public: it is for all namespaces.
	public
)

// reachOf returns how an object of namespace from gets to namespace to. byDefault is the exportTo
// that the mesh gives objects without one.
func reachOf(exportTo, byDefault []string, from, to string) reach {
	if len(exportTo) == 0 {
		exportTo = byDefault
	}
	switch {
	case len(exportTo) == 0 || slices.Contains(exportTo, "*"):
		return public
	case slices.Contains(exportTo, "~"):
		return unseen
	case from == to && (slices.Contains(exportTo, ".") || slices.Contains(exportTo, to)):
		return private
	case slices.Contains(exportTo, to):
		return exported
	}
	return unseen
}

// before reports whether Istio takes a before b: the older one, and of two that are equally old the
// one whose name comes first.
func before(a, b metav1.Object) bool {
	x, y := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	return cmp.Or(x.Compare(y.Time), cmp.Compare(a.GetName(), b.GetName()), cmp.Compare(a.GetNamespace(), b.GetNamespace())) < 0
}

// matchHost returns which of hosts is the target's host or, if none is, the first wildcard that
// covers it.
func (s search) matchHost(hosts []string) (index int, exact, found bool) {
	wildcard := -1
	for i, host := range hosts {
		switch {
		case s.same(host):
			return i, true, true
		case wildcard < 0 && covers(host, s.target.Host):
			wildcard = i
		}
	}
	return wildcard, false, wildcard >= 0
}

// same reports whether host is the target's, in either of the forms that our VirtualService has:
// with a trailing dot too, as programs may write it.
func (s search) same(host string) bool {
	return sameHost(host, s.target.Host)
}

// sameHost reports whether host, in any case and with or without a trailing dot, is ours.
func sameHost(host, ours string) bool {
	return strings.EqualFold(strings.TrimSuffix(host, "."), ours)
}

// isOurs reports whether host is one of our own objects.
func (s search) isOurs(host string) bool {
	return slices.ContainsFunc(s.ourHosts, func(ours string) bool { return sameHost(host, ours) })
}

// covers reports whether pattern is host or a wildcard that host falls under, as Istio reads
// wildcards: an asterisk at the start stands for anything.
func covers(pattern, host string) bool {
	pattern, host = strings.TrimSuffix(strings.ToLower(pattern), "."), strings.TrimSuffix(host, ".")
	if suffix, wildcard := strings.CutPrefix(pattern, "*"); wildcard {
		return strings.HasSuffix(host, suffix)
	}
	return pattern == host
}

// mayMatch reports whether a selector can match a Pod of the target. As the Pod's other labels
// can't be known here, only a selector that asks for another value of a label that we set can't.
func (s search) mayMatch(selector map[string]string) bool {
	for key, value := range s.podLabels {
		if asked, ok := selector[key]; ok && asked != value {
			return false
		}
	}
	return true
}
