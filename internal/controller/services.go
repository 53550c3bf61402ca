package controller

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/mesh"
	"mtls.egress/webhook/internal/target"
)

// serviceKeeper leaves of a Service its name and the external addresses that a sinkhole address may be among.
func serviceKeeper() toolscache.TransformFunc {
	return func(object any) (any, error) {
		service, ok := object.(*corev1.Service)
		if !ok {
			return object, nil
		}
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{
				Name: service.Name, Namespace: target.Once(service.Namespace),
				UID: service.UID, ResourceVersion: service.ResourceVersion,
			},
			Spec: corev1.ServiceSpec{ExternalIPs: sinkholeAddresses(service)},
		}, nil
	}
}

// sinkholeAddresses are those of a Service's external addresses that are in the range of the sinkhole addresses. The
// nodes lead packets for an external address to the Service's Pods.
// https://kubernetes.io/docs/concepts/services-networking/service/#external-ips
func sinkholeAddresses(service *corev1.Service) []string {
	all := append([]string{service.Spec.LoadBalancerIP}, service.Spec.ExternalIPs...)
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		all = append(all, ingress.IP)
	}
	sinkholes := netip.MustParsePrefix(claimSinkhole)
	var found []string
	for _, text := range all {
		if address, err := netip.ParseAddr(text); err == nil && sinkholes.Contains(address.Unmap()) {
			found = append(found, text)
		}
	}
	return found
}

// serviceClaims are the claims of a Service that it is found by.
func serviceClaims(object client.Object) []string {
	if service, ok := object.(*corev1.Service); ok && len(service.Spec.ExternalIPs) > 0 {
		return []string{claimSinkhole}
	}
	return nil
}

// services reads from the cache the Services that may stand in t's way: those with an address in the range of the
// sinkhole addresses, and the one that a host of two labels names.
func (r *EgressTargetReconciler) services(ctx context.Context, t target.Target) ([]mesh.Service, error) {
	var list corev1.ServiceList
	if err := r.cache.List(ctx, &list, client.MatchingFields{indexClaim: claimSinkhole}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the Services with external addresses: %w", err)
	}
	var found []mesh.Service
	for i := range list.Items {
		found = append(found, meshService(&list.Items[i]))
	}
	name, namespace, _ := strings.Cut(t.Host, ".")
	if strings.Contains(namespace, ".") {
		return found, nil
	}
	var named corev1.Service
	there, err := absent.Read(ctx, r.cache, mesh.KindService, namespace, name, &named)
	if err != nil {
		return nil, err
	}
	if there && len(named.Spec.ExternalIPs) == 0 {
		found = append(found, meshService(&named))
	}
	return found, nil
}

func meshService(service *corev1.Service) mesh.Service {
	return mesh.Service{Namespace: service.Namespace, Name: service.Name, Addresses: service.Spec.ExternalIPs}
}

// serviceRequests are the EgressTargets that a Service may matter to: all if it has an address in the range of the
// sinkhole addresses, and else those of the host that is its short name.
func (r *EgressTargetReconciler) serviceRequests(ctx context.Context, object client.Object) []reconcile.Request {
	if len(serviceClaims(object)) > 0 {
		return r.requests(ctx, every)
	}
	return r.requests(ctx, every, client.MatchingFields{indexConcern: object.GetName() + "." + object.GetNamespace()})
}

// serviceChanged lets through changes of what the cache holds of Services.
func serviceChanged(before, after client.Object) bool {
	was, ok := before.(*corev1.Service)
	is, ok2 := after.(*corev1.Service)
	return !ok || !ok2 || !equality.Semantic.DeepEqual(was.Spec.ExternalIPs, is.Spec.ExternalIPs)
}
