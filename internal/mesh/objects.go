package mesh

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"mtls.egress/webhook/internal/egress"
)

// The kinds that this package generates or reads, all in networking.istio.io/v1, which Istio serves
// since 1.22.
const (
	KindVirtualService  = "VirtualService"
	KindDestinationRule = "DestinationRule"
	KindServiceEntry    = "ServiceEntry"
	KindSidecar         = "Sidecar"
)

// HostKinds returns the kinds whose objects name hosts. A target's objects are of these kinds.
func HostKinds() []string {
	return []string{KindServiceEntry, KindVirtualService, KindDestinationRule}
}

// GroupVersion returns networking.istio.io/v1, the API version of every generated object.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: "networking.istio.io", Version: "v1"}
}

// Object is a typed Istio object. It has the methods of controller-runtime's client.Object.
type Object interface {
	metav1.Object
	runtime.Object
}

// Objects returns the objects of one target in the order in which they must be written, after the
// anchor of the namespace (see Anchor): VirtualService, DestinationRule, ServiceEntry, and the
// listener unless t shares its address. In this order, the sidecar doesn't know the host before it
// knows how to call it, and doesn't listen for calls before it can route them. They are deleted in
// reverse order, and the anchor last.
func Objects(t egress.Target, layout egress.Layout) []Object {
	return append([]Object{VirtualService(t), DestinationRule(t, layout), ServiceEntry(t)}, listeners(t)...)
}

// listeners returns the listener of t, if it has one.
func listeners(t egress.Target) []Object {
	if t.AddressShared {
		return nil
	}
	return []Object{Listener(t)}
}

// ReadByIstio reports whether the key of a label or annotation is in one of Istio's domains. Such a
// key can change how Istio handles a generated object: with the label istio.io/rev, a control plane
// of another revision ignores the object.
// https://istio.io/latest/docs/reference/config/labels/
func ReadByIstio(key string) bool {
	domain, _, found := strings.Cut(key, "/")
	return found && (domain == "istio.io" || strings.HasSuffix(domain, ".istio.io"))
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: GroupVersion().String(), Kind: kind}
}

func objectMeta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, Labels: map[string]string{egress.LabelManagedBy: egress.ValueManagedBy},
	}
}

// ownNamespace returns the exportTo of every generated object. Other namespaces are not affected,
// and a private VirtualService wins over an exported one for the same host.
func ownNamespace() []string {
	return []string{"."}
}

// podLabels returns the selector for the Pods of a target.
func podLabels(t egress.Target) map[string]string {
	return map[string]string{egress.HostLabel(t.Host): egress.LabelValue}
}

// portNumber converts port to the type in Istio's API. The CRD and the annotation's rules have
// validated it.
func portNumber(port int32) uint32 {
	return uint32(port) //nolint:gosec // 1 to 65535
}
