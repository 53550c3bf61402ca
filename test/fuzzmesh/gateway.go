package fuzzmesh

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"istio.io/istio/pilot/pkg/config/kube/gateway"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/networking/core"
	"istio.io/istio/pilot/pkg/serviceregistry/kube/controller"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/constants"
	"istio.io/istio/pkg/config/schema/gvk"
	"istio.io/istio/pkg/config/schema/gvr"
	"istio.io/istio/pkg/kube"
	"istio.io/istio/pkg/kube/kclient/clienttest"
	istiotest "istio.io/istio/pkg/test"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/consts"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// The kinds of the Gateway API that reach sidecars: routes whose parent is a Service or a
// ServiceEntry, and policies for the TLS of one.
const (
	kindHTTPRoute        = "HTTPRoute"
	kindGRPCRoute        = "GRPCRoute"
	kindTLSRoute         = "TLSRoute"
	kindTCPRoute         = "TCPRoute"
	kindBackendTLSPolicy = "BackendTLSPolicy"
)

// istioGroup is the API group of ServiceEntries, and of the backends of routes that name a host.
const istioGroup = gatewayv1.Group("networking.istio.io")

// isGateway reports whether object is one of the Gateway API.
func isGateway(object mesh.Object) bool {
	return object.GetObjectKind().GroupVersionKind().Group == gatewayv1.GroupName
}

// gatewayConfigs returns what Istio makes of the objects of the Gateway API in w, by its own
// controller: VirtualServices and DestinationRules that are in no cluster.
func gatewayConfigs(t *testing.T, w World, options core.TestOptions) []config.Config {
	if !slices.ContainsFunc(w.Theirs, isGateway) {
		return nil
	}
	var objects []runtime.Object
	for _, object := range slices.Concat(w.Ours, w.Theirs) {
		if !readable(object) {
			continue
		}
		if kind(object) == mesh.KindServiceEntry || isGateway(object) {
			objects = append(objects, object.DeepCopyObject())
		}
	}
	for _, service := range w.Services {
		objects = append(objects, service.DeepCopy())
	}
	for _, namespace := range []string{ownNamespace, otherNamespace, rootNamespace} {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	}
	client := kube.NewFakeClient(objects...)
	for _, resource := range []schema.GroupVersionResource{
		gvr.KubernetesGateway, gvr.ReferenceGrant, gvr.ListenerSet, gvr.GatewayClass, gvr.HTTPRoute, gvr.GRPCRoute,
		gvr.TCPRoute, gvr.TLSRoute, gvr.ServiceEntry, gvr.BackendTLSPolicy,
	} {
		bundle := map[string]string{consts.BundleVersionAnnotation: consts.BundleVersion}
		clienttest.MakeCRDWithAnnotations(t, client, resource, bundle)
	}
	stop := istiotest.NewStop(t)
	there := func(schema.GroupVersionResource, <-chan struct{}) bool { return true }
	translator := gateway.NewController(client, there, controller.Options{
		DomainSuffix: constants.DefaultClusterLocalDomain, Revision: revision,
	}, model.NewEndpointIndexUpdater(model.NewEndpointIndex(model.DisabledCache{})))
	client.RunAndWait(stop)
	go translator.Run(stop)
	// Istio looks hosts up that routes lead to.
	translator.Reconcile(core.NewConfigGenTest(t, options).PushContext())
	kube.WaitForCacheSync("gateway", stop, translator.HasSynced)
	return slices.Concat(translator.List(gvk.VirtualService, ""), translator.List(gvk.DestinationRule, ""))
}

// gateway is an object of the Gateway API for the mesh.
func (d *dice) gateway() mesh.Object {
	meta := d.objectMeta()
	parent := d.parent(meta.Namespace)
	parents := gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{parent}}
	backends := []gatewayv1.BackendRef{d.backend()}
	switch pick(d, kindHTTPRoute, kindHTTPRoute, kindHTTPRoute, kindGRPCRoute, kindTLSRoute, kindTCPRoute,
		kindBackendTLSPolicy, kindBackendTLSPolicy) {
	case kindHTTPRoute:
		route := &gatewayv1.HTTPRoute{TypeMeta: gatewayType(kindHTTPRoute), ObjectMeta: meta}
		route.Spec.CommonRouteSpec = parents
		rule := gatewayv1.HTTPRouteRule{BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: backends[0]}}}
		if d.often(30) {
			path := &gatewayv1.HTTPPathMatch{Type: new(gatewayv1.PathMatchPathPrefix), Value: new("/v1")}
			rule.Matches = []gatewayv1.HTTPRouteMatch{{Path: path}}
		}
		route.Spec.Rules = []gatewayv1.HTTPRouteRule{rule}
		return route
	case kindGRPCRoute:
		route := &gatewayv1.GRPCRoute{TypeMeta: gatewayType(kindGRPCRoute), ObjectMeta: meta}
		route.Spec.CommonRouteSpec = parents
		route.Spec.Rules = []gatewayv1.GRPCRouteRule{{BackendRefs: []gatewayv1.GRPCBackendRef{{BackendRef: backends[0]}}}}
		return route
	case kindTLSRoute:
		route := &gatewayv1.TLSRoute{TypeMeta: gatewayType(kindTLSRoute), ObjectMeta: meta}
		route.Spec.CommonRouteSpec = parents
		route.Spec.Hostnames = []gatewayv1.Hostname{gatewayv1.Hostname(pick(d, d.world.Targets...).Host)}
		route.Spec.Rules = []gatewayv1.TLSRouteRule{{BackendRefs: backends}}
		return route
	case kindTCPRoute:
		route := &gatewayv1.TCPRoute{TypeMeta: gatewayType(kindTCPRoute), ObjectMeta: meta}
		route.Spec.CommonRouteSpec = parents
		route.Spec.Rules = []gatewayv1.TCPRouteRule{{BackendRefs: backends}}
		return route
	default:
		return d.backendTLSPolicy(meta, parent)
	}
}

// backendTLSPolicy is a policy for what a route of the same namespace could be attached to.
func (d *dice) backendTLSPolicy(meta metav1.ObjectMeta, parent gatewayv1.ParentReference) mesh.Object {
	if parent.Namespace != nil {
		meta.Namespace = string(*parent.Namespace)
	}
	reference := gatewayv1.LocalPolicyTargetReferenceWithSectionName{}
	reference.Group, reference.Kind, reference.Name = *parent.Group, *parent.Kind, parent.Name
	if d.often(30) {
		port := pick(d, "app", "tls", fmt.Sprintf("p-%d", d.ports()[0]))
		reference.SectionName = new(gatewayv1.SectionName(port))
	}
	policy := &gatewayv1.BackendTLSPolicy{TypeMeta: gatewayType(kindBackendTLSPolicy), ObjectMeta: meta}
	policy.Spec.TargetRefs = []gatewayv1.LocalPolicyTargetReferenceWithSectionName{reference}
	policy.Spec.Validation.Hostname = "backend.example.org"
	policy.Spec.Validation.WellKnownCACertificates = new(gatewayv1.WellKnownCACertificatesSystem)
	return policy
}

// parent is what a route or a policy of a namespace is attached to: a Service, a ServiceEntry of
// others, or now and then one of ours.
func (d *dice) parent(namespace string) gatewayv1.ParentReference {
	t := pick(d, d.world.Targets...)
	reference := gatewayv1.ParentReference{Group: new(istioGroup), Kind: new(gatewayv1.Kind(mesh.KindServiceEntry))}
	parents := slices.DeleteFunc(slices.Clone(d.world.Theirs), func(object mesh.Object) bool {
		return kind(object) != mesh.KindServiceEntry
	})
	for _, service := range d.world.Services {
		parents = append(parents, service)
	}
	home := ownNamespace
	if len(parents) == 0 || d.often(10) {
		name := pick(d, egress.ObjectName(t.Host), egress.ListenerName(t.Host), egress.AnchorName)
		reference.Name = gatewayv1.ObjectName(name)
	} else {
		parent := pick(d, parents...)
		home, reference.Name = parent.GetNamespace(), gatewayv1.ObjectName(parent.GetName())
		if kind(parent) != mesh.KindServiceEntry {
			reference.Group, reference.Kind = new(gatewayv1.Group("")), new(gatewayv1.Kind(kind(parent)))
		}
	}
	if home != namespace {
		reference.Namespace = new(gatewayv1.Namespace(home))
	}
	if d.often(40) {
		reference.Port = new(gatewayv1.PortNumber(int32(d.ports()[0])))
	}
	return reference
}

// backend is where a route leads: a host of the registry or a Service.
func (d *dice) backend() gatewayv1.BackendRef {
	reference := gatewayv1.BackendObjectReference{Name: "web", Port: new(gatewayv1.PortNumber(int32(d.ports()[0])))}
	if d.often(80) {
		reference.Group, reference.Kind = new(istioGroup), new(gatewayv1.Kind("Hostname"))
		reference.Name = gatewayv1.ObjectName(d.host())
	}
	return gatewayv1.BackendRef{BackendObjectReference: reference}
}

// attachedToOurs reports whether object is of the Gateway API and attached to what has a name of
// ours.
func attachedToOurs(object mesh.Object) bool {
	return isGateway(object) && strings.Contains(text(object), "name: "+egress.AnchorName)
}

func gatewayType(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: gatewayv1.SchemeGroupVersion.String(), Kind: kind}
}
