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

// DefaultRootNamespace is the default of Istio's root namespace.
const DefaultRootNamespace = "istio-system"

// Others are the objects that Istio can combine with a target's objects: those of the target's
// namespace, including the target's own objects, and those that other namespaces may export to it.
// If the target's own objects are missing, every other object counts as older.
type Others struct {
	// Revisions are the revisions of the control planes that serve the target's Pods. Objects with
	// another revision in the label istio.io/rev are ignored, because these control planes don't read
	// them (https://istio.io/latest/docs/setup/upgrade/canary/). Default: unknown, and every object
	// counts.
	Revisions []string
	// Mesh is the mesh configuration. Default: Istio's defaults.
	Mesh             Config
	VirtualServices  []*networkingv1.VirtualService
	DestinationRules []*networkingv1.DestinationRule
	ServiceEntries   []*networkingv1.ServiceEntry
	Sidecars         []*networkingv1.Sidecar
	// Services are the Services with an external address, or with the target's host as their short
	// name.
	Services []Service
	// RootNamespace is the mesh's root namespace. Its Sidecar applies to namespaces without one.
	// Default: istio-system.
	RootNamespace string
}

// Service is the part of a Kubernetes Service that this package reads.
type Service struct {
	Namespace, Name string
	// Addresses are the external addresses in spec.externalIPs, spec.loadBalancerIP and the status.
	Addresses []string
}

// Effect is the effect of a conflict on the target's objects ("ours") and on the other object.
type Effect string

const (
	// WinsOverOurs means that Istio uses the object instead of ours.
	WinsOverOurs Effect = "WinsOverOurs"
	// HidesOurs means that the target's Pods don't see our objects because of the object.
	HidesOurs Effect = "HidesOurs"
	// HiddenByOurs means that the object no longer has its intended effect. The target itself works.
	HiddenByOurs Effect = "HiddenByOurs"
	// BreaksOurs means that the object changes the effect of ours, or prevents the controller from
	// writing them.
	BreaksOurs Effect = "BreaksOurs"
)

// Conflict is one object that this controller does not own and that conflicts with a target's
// objects.
type Conflict struct {
	// Kind, Namespace and Name identify the object.
	Kind, Namespace, Name string
	// Field is the path of the conflicting field, for example spec.hosts[0].
	Field string
	// Effect is the effect of the conflict.
	Effect Effect
	// Message is a sentence for users: object and field, what happens to which calls, and how to fix
	// it.
	Message string
	// Closes reports whether the target must be closed: with Objects, calls of its Pods could leave
	// without mutual TLS, or the host is not a partner's. Closed returns the objects to write then.
	Closes bool
	// Adoptable reports whether the object is part of a hand-written set that also reaches the host
	// over mutual TLS, so that the command adopt may replace it.
	Adoptable bool
}

// Conflicts returns the objects among others that win over the objects of t, hide them, are hidden
// by them or break them. It returns one conflict for each such object, sorted by kind, namespace
// and name, and leaves out the target's own objects. An object of another owner with the name of a
// generated object or of the anchor is always a conflict. ServiceEntries and DestinationRules for
// the partner's own host are not conflicts: the generated ones use egress.MeshHost, so Istio
// doesn't merge them. For how Istio handles several objects for one host, see
// pilot/pkg/model/push_context.go, destination_rule.go and sidecar.go of
// https://github.com/istio/istio.
func Conflicts(t egress.Target, others Others) []Conflict {
	s := search{
		target:       t,
		rules:        others.DestinationRules,
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

// search holds the target to find conflicts for, and what follows from it.
type search struct {
	target    egress.Target
	rules     []*networkingv1.DestinationRule
	revisions []string
	mesh      Config
	// registryOnly reports whether sidecars of the target's Pods may reject calls to unknown hosts.
	registryOnly bool
	// name is the name of the target's objects. listenerName is the name of its listener.
	name, listenerName string
	// ourHosts are the hosts of the target's ServiceEntry and DestinationRule, its listener, and the
	// anchor.
	ourHosts []string
	// podLabels are the labels that every Pod of the target has. A Pod may have others.
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

// foreign splits objects into foreign objects and ours. ours is the zero value if it isn't written
// yet. An object with the name of a generated object counts even if the control plane doesn't read
// it.
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

// hasOurName reports whether obj has the name of the target's objects.
func (s search) hasOurName(obj metav1.Object) bool {
	return obj.GetNamespace() == s.target.Namespace && obj.GetName() == s.name
}

// hasListenerName reports whether obj has the name of the target's listener.
func (s search) hasListenerName(obj metav1.Object) bool {
	return obj.GetNamespace() == s.target.Namespace && obj.GetName() == s.listenerName
}

// hasAnchorName reports whether obj has the name of the namespace's anchor.
func (s search) hasAnchorName(obj metav1.Object) bool {
	return obj.GetNamespace() == s.target.Namespace && obj.GetName() == egress.AnchorName
}

func (s search) nameTaken(kind string, obj metav1.Object) Conflict {
	return s.conflict(kind, obj, "metadata.name", BreaksOurs,
		"has the name of a generated object but does not belong to the EgressTarget, so the controller leaves it alone and "+
			"can't write its own, and calls to %s fail; rename or delete it",
		s.target.Host)
}

// reserved returns the conflict for an object that names a host of generated objects.
func (s search) reserved(kind string, obj metav1.Object, field, host string) Conflict {
	return s.conflict(kind, obj, field, BreaksOurs,
		"names %s, which is reserved for the controller, so Istio may use it instead of the generated objects, and calls "+
			"to %s may fail; remove the host from it",
		host, s.target.Host)
}

// conflict returns a conflict whose message starts with the object and the field, and continues
// with format and args.
func (s search) conflict(
	kind string, obj metav1.Object, field string, effect Effect, format string, args ...any,
) Conflict {
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

// Reference returns kind, namespace and name of the object, for use in a sentence.
func (c Conflict) Reference() string {
	return c.Kind + " " + reference(&metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name})
}

func reference(obj metav1.Object) string {
	if obj.GetNamespace() == "" {
		return obj.GetName()
	}
	return obj.GetNamespace() + "/" + obj.GetName()
}

// reach is how an object is visible in a namespace. Istio looks up VirtualServices and
// ServiceEntries in this order.
type reach int

const (
	// unseen: not visible.
	unseen reach = iota
	// private: in the namespace itself, and not exported to all namespaces.
	private
	// exported: in another namespace, and exported to this one by name.
	exported
	// public: exported to all namespaces.
	public
)

// reachOf returns how an object in namespace from is visible in namespace to. byDefault is the
// mesh's default for exportTo.
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

// Visible reports whether an object in namespace from is visible in namespace to. Without exportTo,
// it is.
func Visible(exportTo []string, from, to string) bool {
	return reachOf(exportTo, nil, from, to) != unseen
}

// NormalHost returns the host in lowercase and without a trailing dot, as Istio compares hosts.
func NormalHost(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// Covers reports whether pattern is host or a wildcard that matches it. Case and a trailing dot
// don't matter.
func Covers(pattern, host string) bool { return covers(pattern, strings.ToLower(host)) }

// before reports whether Istio prefers a to b. It prefers the older object, and breaks ties by
// name.
func before(a, b metav1.Object) bool {
	x, y := a.GetCreationTimestamp(), b.GetCreationTimestamp()
	order := cmp.Or(
		x.Compare(y.Time),
		cmp.Compare(a.GetName(), b.GetName()),
		cmp.Compare(a.GetNamespace(), b.GetNamespace()))
	return order < 0
}

// matchHost returns the index of the target's host in hosts or, if it isn't there, of the first
// wildcard that matches it.
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

// same reports whether host is the target's host. As in the generated VirtualService, it may have a
// trailing dot.
func (s search) same(host string) bool {
	return sameHost(host, s.target.Host)
}

// sameHost reports whether host is ours, regardless of case and of a trailing dot.
func sameHost(host, ours string) bool {
	return strings.EqualFold(strings.TrimSuffix(host, "."), ours)
}

// isOurs reports whether host is a host of the generated objects.
func (s search) isOurs(host string) bool {
	return slices.ContainsFunc(s.ourHosts, func(ours string) bool { return sameHost(host, ours) })
}

// covers reports whether pattern is host or a wildcard that matches it. As in Istio, an asterisk at
// the start matches anything.
func covers(pattern, host string) bool {
	pattern, host = NormalHost(pattern), strings.TrimSuffix(host, ".")
	if suffix, wildcard := strings.CutPrefix(pattern, "*"); wildcard {
		return strings.HasSuffix(host, suffix)
	}
	return pattern == host
}

// mayMatch reports whether a selector can match a Pod of the target. The Pod's other labels are
// unknown here, so it is false only for a selector with another value for one of our labels.
func (s search) mayMatch(selector map[string]string) bool {
	for key, value := range s.podLabels {
		if asked, ok := selector[key]; ok && asked != value {
			return false
		}
	}
	return true
}
