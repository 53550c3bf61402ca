package mesh

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/target"
)

// The kinds of the generated objects, all in networking.istio.io/v1, which Istio serves since 1.22.
const (
	KindVirtualService  = "VirtualService"
	KindDestinationRule = "DestinationRule"
	KindServiceEntry    = "ServiceEntry"
	KindSidecar         = "Sidecar"
)

// GroupVersion returns networking.istio.io/v1, the API version of every generated object.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: "networking.istio.io", Version: "v1"}
}

// Options are the properties of the mesh that change what is generated.
type Options struct {
	// DNSCapture says that sidecars answer DNS themselves (ISTIO_META_DNS_CAPTURE). They then answer every Pod of the
	// namespace with the address of the ServiceEntry, so it has to carry the app port too, or the plain HTTP calls of Pods
	// that asked for nothing would end at the sinkhole. Default: false, as in Istio.
	DNSCapture bool
}

// Object is a typed Istio object. It has the methods of controller-runtime's client.Object.
type Object interface {
	metav1.Object
	runtime.Object
}

// Objects returns the objects of one target in the order in which they have to be written, after the anchor of the
// namespace (see Anchor): VirtualService, DestinationRule, ServiceEntry. With the ServiceEntry last, the sidecar doesn't know
// the host before it knows how to call it. They are removed in the reverse order, and the anchor at the end.
func Objects(t target.Target, layout target.Layout, opts Options) []Object {
	return []Object{VirtualService(t), DestinationRule(t, layout), ServiceEntry(t, opts)}
}

// Owned says whether obj belongs to an EgressTarget, by owner reference. The label alone doesn't count: anybody can copy it.
func Owned(obj metav1.Object) bool {
	return slices.ContainsFunc(obj.GetOwnerReferences(), isEgressTarget)
}

// ownedFor says whether obj belongs to the EgressTarget of host.
func ownedFor(obj metav1.Object, host string) bool {
	return slices.ContainsFunc(obj.GetOwnerReferences(), func(owner metav1.OwnerReference) bool {
		return isEgressTarget(owner) && owner.Name == host
	})
}

// isEgressTarget compares the group without the version, so that objects stay ours when the API gets a new version.
func isEgressTarget(owner metav1.OwnerReference) bool {
	version, err := schema.ParseGroupVersion(owner.APIVersion)
	return err == nil && version.Group == v1alpha1.Group && owner.Kind == v1alpha1.Kind
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: GroupVersion().String(), Kind: kind}
}

func objectMeta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{target.LabelManagedBy: target.ValueManagedBy}}
}

// ownNamespace is the exportTo of every generated object: neighbours in other namespaces keep what they had, and a
// VirtualService with it wins over an exported one for the same host.
func ownNamespace() []string {
	return []string{"."}
}

// podLabels selects the Pods of a target.
func podLabels(t target.Target) map[string]string {
	return map[string]string{target.HostLabel(t.Host): target.LabelValue}
}

// portNumber is port as Istio's API has it. Ports are checked long before: by the CRD and by the annotation's rules.
func portNumber(port int32) uint32 {
	return uint32(port) //nolint:gosec // 1 to 65535
}
