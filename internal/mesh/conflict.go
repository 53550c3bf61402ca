package mesh

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/internal/target"
)

// DefaultRootNamespace is Istio's root namespace where the mesh configuration doesn't say otherwise.
const DefaultRootNamespace = "istio-system"

// Others are the Istio objects among which a target's objects stand: those of the target's namespace and those that other
// namespaces may export to it, our own among them. Without our own ones everybody else's counts as older.
type Others struct {
	VirtualServices  []*networkingv1.VirtualService
	DestinationRules []*networkingv1.DestinationRule
	ServiceEntries   []*networkingv1.ServiceEntry
	Sidecars         []*networkingv1.Sidecar
	// RootNamespace is the mesh's root namespace, whose Sidecar applies where a namespace has none. Default: istio-system.
	RootNamespace string
}

// Effect is what an object and ours do to each other.
type Effect string

const (
	// WinsOverOurs says that Istio follows the object where it would have followed ours.
	WinsOverOurs Effect = "WinsOverOurs"
	// HidesOurs says that the object keeps ours from the Pods of the target.
	HidesOurs Effect = "HidesOurs"
	// HiddenByOurs says that the object no longer has the effect that its author meant. The target itself works.
	HiddenByOurs Effect = "HiddenByOurs"
	// BreaksOurs says that the object changes what ours do, or keeps them from being written.
	BreaksOurs Effect = "BreaksOurs"
)

// Conflict is one object of somebody else's that stands in the way of a target's objects, or in whose way they stand.
type Conflict struct {
	// Kind, Namespace and Name say which object.
	Kind, Namespace, Name string
	// Field is the path of the field that makes it one, as in spec.hosts[0].
	Field string
	// Effect is what the two do to each other.
	Effect Effect
	// Message is a sentence for a person: object and field, what happens to which calls, and what would be right.
	Message string
	// Plaintext says that calls of the target's Pods could leave without its mutual TLS if Objects stood. Closed is what to
	// write then.
	Plaintext bool
}

// Conflicts returns the objects among others that would win over the objects of t, hide them, be hidden by them or break
// them; one conflict for each such object, by kind, namespace and name. Objects that belong to the EgressTarget of the host
// are none. An object that has the name of one of ours, or of the anchor, and doesn't belong to us is one whatever it says.
// What Istio does with several objects for one host is written in pilot/pkg/model/push_context.go, destination_rule.go and
// sidecar.go of https://github.com/istio/istio. Where an object says nothing of exportTo, Istio's default of all namespaces
// is assumed.
func Conflicts(t target.Target, others Others) []Conflict {
	s := search{
		target:    t,
		name:      target.ObjectName(t.Host),
		podLabels: map[string]string{target.HostLabel(t.Host): target.LabelValue, target.LabelRealised: target.LabelValue},
		root:      or(others.RootNamespace, DefaultRootNamespace),
	}
	var conflicts []Conflict
	conflicts = append(conflicts, s.virtualServices(others.VirtualServices)...)
	conflicts = append(conflicts, s.destinationRules(others.DestinationRules, others.ServiceEntries)...)
	conflicts = append(conflicts, s.serviceEntries(others.ServiceEntries)...)
	conflicts = append(conflicts, s.sidecars(others.Sidecars)...)
	slices.SortStableFunc(conflicts, func(a, b Conflict) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return conflicts
}

// search is the target for which conflicts are looked for, and what follows from it.
type search struct {
	target target.Target
	// name is that of the target's objects.
	name string
	// podLabels are the labels that every Pod of the target surely has. It may have any others.
	podLabels map[string]string
	root      string
}

// ours says whether obj is one of the target's own objects.
func (s search) ours(obj metav1.Object) bool {
	return ownedFor(obj, s.target.Host)
}

// foreign returns what of objects isn't ours, and ours among them: the zero value when it isn't written yet.
func foreign[T interface {
	comparable
	metav1.Object
}](s search, objects []T) (theirs []T, ours T) {
	var none T
	for _, obj := range objects {
		switch {
		case obj == none:
		case !s.ours(obj):
			theirs = append(theirs, obj)
		case obj.GetNamespace() == s.target.Namespace && obj.GetName() == s.name:
			ours = obj
		}
	}
	return theirs, ours
}

// takesOurName says whether somebody else's obj has the name that one of our objects needs.
func (s search) takesOurName(obj metav1.Object) bool {
	return obj.GetNamespace() == s.target.Namespace && obj.GetName() == s.name
}

func (s search) nameTaken(kind string, obj metav1.Object) Conflict {
	return s.conflict(kind, obj, "metadata.name", BreaksOurs,
		"has the name that ours needs, and no EgressTarget owns it, so it is left as it is, ours can't be written, and calls to %s fail; rename or delete it",
		s.target.Host)
}

// conflict makes the sentence of a conflict: the object, the field, and the rest from format and args.
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

// leaking is c with Plaintext set.
func (c Conflict) leaking() Conflict {
	c.Plaintext = true
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

// reach is how an object gets to a namespace. Istio asks for VirtualServices and ServiceEntries in this order.
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

// reachOf returns how an object of namespace from gets to namespace to.
func reachOf(exportTo []string, from, to string) reach {
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

// before says whether Istio takes a before b: the older one, and of two that are equally old the one whose name comes first.
func before(a, b metav1.Object) bool {
	x, y := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	return cmp.Or(x.Compare(y.Time), cmp.Compare(a.GetName(), b.GetName()), cmp.Compare(a.GetNamespace(), b.GetNamespace())) < 0
}

// matchHost returns which of hosts is the target's host or, if none is, the first wildcard that covers it.
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

// same says whether host is the target's, in either of the forms that our VirtualService has: with a trailing dot too, as programs
// may write it.
func (s search) same(host string) bool {
	return strings.EqualFold(strings.TrimSuffix(host, "."), s.target.Host)
}

// covers says whether pattern is host or a wildcard that host falls under, as Istio reads wildcards: an asterisk at the
// start stands for anything.
func covers(pattern, host string) bool {
	pattern = strings.TrimSuffix(strings.ToLower(pattern), ".")
	if suffix, wildcard := strings.CutPrefix(pattern, "*"); wildcard {
		return strings.HasSuffix(host, suffix)
	}
	return pattern == host
}

// mayMatch says whether a selector can match a Pod of the target. As the Pod's other labels can't be known here, only a
// selector that asks for another value of a label that we set can't.
func (s search) mayMatch(selector map[string]string) bool {
	for key, value := range s.podLabels {
		if asked, ok := selector[key]; ok && asked != value {
			return false
		}
	}
	return true
}
