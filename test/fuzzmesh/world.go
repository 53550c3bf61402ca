package fuzzmesh

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// The namespaces of a world: that of the targets, one beside it, and Istio's root namespace.
const (
	ownNamespace   = "project"
	otherNamespace = "other"
	rootNamespace  = mesh.DefaultRootNamespace
)

// World is a mesh with everything in it that decides where calls go.
type World struct {
	Mesh    Mesh
	Targets []Target
	// Ours are the generated objects that stand, Theirs the Istio objects of others.
	Ours, Theirs []mesh.Object
	Services     []*corev1.Service
}

// Mesh is what the mesh configuration says.
type Mesh struct {
	// Mode is the mode of outboundTrafficPolicy.
	Mode string
	// DNSCapture reports whether sidecars answer DNS.
	DNSCapture bool
	// The defaults of exportTo; nil is Istio's own, all namespaces.
	VirtualServiceExportTo, DestinationRuleExportTo, ServiceExportTo []string
}

// Target is a target with the layout of its credential.
type Target struct {
	egress.Target
	Layout egress.Layout
}

// among gives targets what they need to know of each other.
func among(targets []Target) []Target {
	var bare []egress.Target
	for _, t := range targets {
		bare = append(bare, t.Target)
	}
	for i := range targets {
		targets[i].Target = targets[i].Among(bare)
	}
	return targets
}

// birth is when the generated objects are created. Those of others are older, newer, or created in
// the same second.
func birth() time.Time { return time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC) }

// open returns the objects of an open target, closed those of a closed one.
func (t Target) open() []mesh.Object {
	return t.owned(mesh.Objects(t.Target, t.Layout))
}

func (t Target) closed() []mesh.Object {
	return t.owned(mesh.Closed(t.Target, t.Layout))
}

// owned gives objects what the controller adds to them, and the API server.
func (t Target) owned(objects []mesh.Object) []mesh.Object {
	for _, object := range objects {
		own(object, t.Host)
	}
	return objects
}

func own(object mesh.Object, host string) {
	object.SetCreationTimestamp(metav1.NewTime(birth()))
	object.SetOwnerReferences([]metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion().String(), Kind: v1alpha1.Kind, Name: host, UID: types.UID("uid-of-" + host),
	}})
}

// anchor returns the anchor for targets.
func anchor(targets []Target) mesh.Object {
	var ports []int32
	for _, t := range targets {
		ports = append(ports, t.AppPort)
	}
	object := mesh.Anchor(ownNamespace, ports)
	own(object, targets[0].Host)
	return object
}

// without returns w without the objects of ours.
func (w World) without() World {
	w.Ours = nil
	return w
}

// closedFor returns w as the controller leaves it when it closes t.
func (w World) closedFor(t Target) World {
	w.Ours = slices.DeleteFunc(slices.Clone(w.Ours), func(object mesh.Object) bool {
		return object.GetName() == egress.ObjectName(t.Host) || object.GetName() == egress.ListenerName(t.Host)
	})
	for _, object := range t.closed() {
		if !w.taken(object) {
			w.Ours = append(w.Ours, object)
		}
	}
	if first := anchor(w.Targets); !w.has(first) && !w.taken(first) {
		w.Ours = append(w.Ours, first)
	}
	return w
}

// taken reports whether an object of others has the name of object.
func (w World) taken(object mesh.Object) bool {
	return slices.ContainsFunc(w.Theirs, func(other mesh.Object) bool { return sameName(object, other) })
}

// has reports whether an object of ours with the name of object stands.
func (w World) has(object mesh.Object) bool {
	return slices.ContainsFunc(w.Ours, func(other mesh.Object) bool { return sameName(object, other) })
}

func sameName(a, b mesh.Object) bool {
	return kind(a) == kind(b) && a.GetNamespace() == b.GetNamespace() && a.GetName() == b.GetName()
}

// complete reports whether all objects of t stand as the controller writes them for an open target.
func (w World) complete(t Target) bool {
	wanted := append(t.open(), anchor(w.Targets))
	return !slices.ContainsFunc(wanted, func(object mesh.Object) bool {
		return !slices.ContainsFunc(w.Ours, func(other mesh.Object) bool {
			return sameName(object, other) &&
				sameText(object, other)
		})
	})
}

// destinationRule returns the DestinationRule of t, virtualService its closed VirtualService.
func (t Target) destinationRule() mesh.Object { return t.only(t.open(), mesh.KindDestinationRule) }

func (t Target) virtualService() mesh.Object { return t.only(t.closed(), mesh.KindVirtualService) }

func (t Target) only(objects []mesh.Object, wanted string) mesh.Object {
	return objects[slices.IndexFunc(objects, func(object mesh.Object) bool { return kind(object) == wanted })]
}

// routed reports whether the anchor and a VirtualService of t stand, so that calls past the
// sinkhole are routed too.
func (w World) routed(t Target) bool {
	return w.has(anchor(w.Targets)) && w.has(t.virtualService())
}

func sameText(a, b mesh.Object) bool {
	return bytes.Equal([]byte(text(a)), []byte(text(b)))
}

// conflicts are what the controller finds for t.
func (w World) conflicts(t Target) []mesh.Conflict {
	others := mesh.Others{RootNamespace: rootNamespace, Revisions: []string{revision}, Mesh: mesh.Config{
		DynamicDNS:              w.Mesh.Mode == "ALLOW_ANY_DYNAMIC_DNS",
		RegistryOnly:            w.Mesh.Mode == "REGISTRY_ONLY",
		VirtualServiceExportTo:  w.Mesh.VirtualServiceExportTo,
		DestinationRuleExportTo: w.Mesh.DestinationRuleExportTo,
		ServiceExportTo:         w.Mesh.ServiceExportTo,
	}}
	for _, service := range w.Services {
		others.Services = append(others.Services, mesh.Service{Namespace: service.Namespace, Name: service.Name,
			Addresses: service.Spec.ExternalIPs})
	}
	for _, object := range append(slices.Clone(w.Ours), w.Theirs...) {
		switch object := object.(type) {
		case *networkingv1.VirtualService:
			others.VirtualServices = append(others.VirtualServices, object)
		case *networkingv1.DestinationRule:
			others.DestinationRules = append(others.DestinationRules, object)
		case *networkingv1.ServiceEntry:
			others.ServiceEntries = append(others.ServiceEntries, object)
		case *networkingv1.Sidecar:
			others.Sidecars = append(others.Sidecars, object)
		}
	}
	return mesh.Conflicts(t.Target, others)
}

// covers reports whether text is address or a range that holds it.
func covers(text string, address netip.Addr) bool {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return prefix.Contains(address)
	}
	return text == address.String()
}

// closing reports whether the controller closes the target because of the conflict.
func closing(c mesh.Conflict) bool { return c.Closes }

func kind(object runtime.Object) string {
	return object.GetObjectKind().GroupVersionKind().Kind
}

// String is the world as a person reads it: the mesh, then the objects as YAML.
func (w World) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# mesh: %+v\n", w.Mesh)
	for _, t := range w.Targets {
		fmt.Fprintf(&b, "# target: %s port %d appPort %d sni %s subjectAltNames %v sinkhole %s\n",
			t.Host, t.Port, t.AppPort, t.SNI, t.SubjectAltNames, t.AllAddresses())
	}
	for _, object := range w.Ours {
		fmt.Fprintf(&b, "# ours: %s\n", w.form(object))
	}
	for _, object := range w.Theirs {
		fmt.Fprintf(&b, "---\n%s", text(object))
	}
	for _, service := range w.Services {
		fmt.Fprintf(&b, "---\n%s", text(service))
	}
	return b.String()
}

// form is the name of an object of ours, and whether it is that of a closed target.
func (w World) form(object mesh.Object) string {
	name := kind(object) + " " + object.GetName()
	stands := func(other mesh.Object) bool { return sameName(object, other) && sameText(object, other) }
	for _, t := range w.Targets {
		if slices.ContainsFunc(t.closed(), stands) && !slices.ContainsFunc(t.open(), stands) {
			return name + " (closed)"
		}
	}
	return name
}

// text is object as YAML, without what says nothing.
func text(object runtime.Object) string {
	data, err := yaml.Marshal(object)
	if err != nil {
		panic(err) // an object of our own making
	}
	lines := strings.SplitAfter(string(data), "\n")
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool {
		return strings.HasPrefix(line, "status:") || strings.Contains(line, "loadBalancer: {}")
	}), "")
}
