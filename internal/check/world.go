package check

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/manifests"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/mutate"
	"mtls.egress/webhook/internal/workload"
)

// World is the input of the rules: the objects of all documents, by their kinds.
type World struct {
	Options          manifests.Options
	Documents        []manifests.Document
	Objects          []manifests.Object
	ServiceEntries   []Typed[*networkingv1.ServiceEntry]
	VirtualServices  []Typed[*networkingv1.VirtualService]
	DestinationRules []Typed[*networkingv1.DestinationRule]
	Sidecars         []Typed[*networkingv1.Sidecar]
	// BackendTLSPolicies and HTTPRoutes are of the Gateway API.
	BackendTLSPolicies []Typed[*gatewayv1.BackendTLSPolicy]
	HTTPRoutes         []Typed[*gatewayv1.HTTPRoute]
	Services           []Typed[*corev1.Service]
	Secrets            []Typed[*corev1.Secret]
	Pods               []Pods

	// review is what admission and the controller say.
	review manifests.Review
	// undecoded are the Istio objects that can't be decoded.
	undecoded []manifests.Object
	// byLocation finds the object of a problem.
	byLocation map[manifests.Location]manifests.Object
	// credentialFlaws are nil until [World.flaws] looks for them.
	credentialFlaws []flaw
	// found are the findings so far.
	found []Finding

	// byHand are the hand-written objects, as the rules for Istio look at them.
	byHand *handWritten
}

// Typed is an object with its decoded content.
type Typed[T any] struct {
	manifests.Object

	Value T
}

// Pods are the Pods of a workload, or of one of its templates, or a single Pod.
type Pods struct {
	manifests.Object

	// Path leads to the template. It is empty for a Pod.
	Path []any
	// Value is the Pod, or the template as a Pod.
	Value corev1.Pod

	// mounts and volumes are what the annotations for Istio's injector add to the sidecar.
	mounts  []corev1.VolumeMount
	volumes []corev1.Volume
}

func newWorld(documents []manifests.Document, options manifests.Options) *World {
	if options.Workloads == nil {
		options.Workloads = workload.Known()
	}
	w := &World{Options: options, Documents: documents, Objects: manifests.Objects(documents, options.Namespace)}
	w.review = manifests.ReviewOf(documents, options)
	w.byLocation = map[manifests.Location]manifests.Object{}
	kinds := options.Workloads.ByKind()
	for _, object := range w.Objects {
		w.byLocation[object.Location] = object
		group, kind := object.Kind.Group, object.Kind.Kind
		switch {
		case group == "" && kind == "Service":
			w.Services = appendTyped(w.Services, object, &corev1.Service{})
		case group == "" && kind == "Secret":
			w.Secrets = appendTyped(w.Secrets, object, &corev1.Secret{})
		case ofTarget(object):
		case group == mesh.GroupVersion().Group && kind == mesh.KindServiceEntry:
			w.ServiceEntries = appendTyped(w.ServiceEntries, object, &networkingv1.ServiceEntry{})
		case group == mesh.GroupVersion().Group && kind == mesh.KindVirtualService:
			w.VirtualServices = appendTyped(w.VirtualServices, object, &networkingv1.VirtualService{})
		case group == mesh.GroupVersion().Group && kind == mesh.KindDestinationRule:
			w.DestinationRules = appendTyped(w.DestinationRules, object, &networkingv1.DestinationRule{})
		case group == mesh.GroupVersion().Group && kind == mesh.KindSidecar:
			w.Sidecars = appendTyped(w.Sidecars, object, &networkingv1.Sidecar{})
		case group == gatewayv1.GroupName && kind == "BackendTLSPolicy":
			w.BackendTLSPolicies = appendTyped(w.BackendTLSPolicies, object, &gatewayv1.BackendTLSPolicy{})
		case group == gatewayv1.GroupName && kind == "HTTPRoute":
			w.HTTPRoutes = appendTyped(w.HTTPRoutes, object, &gatewayv1.HTTPRoute{})
		case mutate.IsPod(object.Kind.GroupKind()):
			if encoded, err := json.Marshal(object.Content); err == nil {
				w.addPods(object, encoded, nil)
			}
		default:
			w.addTemplates(object, kinds[object.Kind.GroupKind()])
		}
	}
	w.undecoded = w.istioObjectsUndecoded()
	return w
}

func (w *World) istioObjectsUndecoded() []manifests.Object {
	wrong := map[manifests.Location]bool{}
	for _, warning := range w.review.Warnings {
		if warning.Reason == manifests.ReasonInvalidObject {
			wrong[warning.Location] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(w.Objects), func(object manifests.Object) bool {
		return object.Kind.Group != mesh.GroupVersion().Group || !wrong[object.Location]
	})
}

// ofTarget reports whether the controller generated the object for an EgressTarget.
func ofTarget(object manifests.Object) bool {
	owners := (&unstructured.Unstructured{Object: object.Content}).GetOwnerReferences()
	return slices.ContainsFunc(owners, func(owner metav1.OwnerReference) bool {
		return owner.Kind == v1alpha1.Kind && owner.APIVersion == v1alpha1.GroupVersion().String()
	})
}

// objectAt returns the object at a location of a problem. The location of a Namespace has no
// namespace there. An object outside the input has nothing but its location.
func (w *World) objectAt(location manifests.Location) manifests.Object {
	if object, found := w.byLocation[location]; found {
		return object
	}
	for _, object := range w.Objects {
		at := object.Location
		at.Namespace = location.Namespace
		if at == location && at.Namespace == "" {
			return object
		}
	}
	return manifests.Object{Location: location}
}

// appendTyped decodes the object. One that can't be decoded is not for these rules: the API server
// refuses it.
func appendTyped[T metav1.Object](list []Typed[T], object manifests.Object, value T) []Typed[T] {
	encoded, err := json.Marshal(object.Content)
	if err != nil || json.Unmarshal(encoded, value) != nil {
		return list
	}
	value.SetNamespace(object.Location.Namespace)
	return append(list, Typed[T]{Object: object, Value: value})
}

// addTemplates adds the Pods of a workload.
func (w *World) addTemplates(object manifests.Object, kind workload.Kind) {
	encoded, err := json.Marshal(object.Content)
	if err != nil {
		return
	}
	for _, path := range kind.Templates {
		for _, place := range path.Find(encoded) {
			w.addPods(object, place.JSON, stepsOf(place.Pointer))
		}
	}
}

// addPods adds the Pods of a template, or a Pod.
func (w *World) addPods(object manifests.Object, encoded []byte, path []any) {
	var pod corev1.Pod
	if json.Unmarshal(encoded, &pod) == nil {
		w.Pods = append(w.Pods, Pods{
			Object: object, Path: path, Value: pod, mounts: mountsOf(pod), volumes: volumesOf(pod),
		})
	}
}

// stepsOf returns the fields and indices of a JSON pointer without escaped characters.
func stepsOf(pointer string) []any {
	var steps []any
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		if index, err := strconv.Atoi(token); err == nil {
			steps = append(steps, index)
		} else {
			steps = append(steps, token)
		}
	}
	return steps
}
