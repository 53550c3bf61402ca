package informers

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	netutils "k8s.io/utils/net"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/absent"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/mesh"
)

// serviceTransform returns the transform that keeps only the name of a Service, and its external
// addresses in the ranges of the sinkhole addresses.
func serviceTransform(sinkhole egress.Sinkhole) toolscache.TransformFunc {
	return func(object any) (any, error) {
		service, ok := object.(*corev1.Service)
		if !ok {
			return object, nil
		}
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{
				Name: service.Name, Namespace: egress.Once(service.Namespace),
				UID: service.UID, ResourceVersion: service.ResourceVersion,
			},
			Spec: corev1.ServiceSpec{ExternalIPs: sinkholeAddresses(service, sinkhole)},
		}, nil
	}
}

// sinkholeAddresses returns the Service's external addresses in the ranges of the sinkhole
// addresses. Nodes route packets for an external address to the Service's Pods.
// https://kubernetes.io/docs/concepts/services-networking/service/#external-ips
func sinkholeAddresses(service *corev1.Service, sinkhole egress.Sinkhole) []string {
	all := append([]string{service.Spec.LoadBalancerIP}, service.Spec.ExternalIPs...)
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		all = append(all, ingress.IP)
	}
	var found []string
	for _, text := range all {
		// kube-proxy reads notations that netip doesn't, such as leading zeros.
		if address, ok := netip.AddrFromSlice(netutils.ParseIPSloppy(text)); ok && sinkhole.Contains(address) {
			found = append(found, address.Unmap().String())
		}
	}
	return found
}

// ClaimsSinkhole reports whether a cached Service has an address in the ranges of the sinkhole
// addresses.
func ClaimsSinkhole(object client.Object) bool {
	service, ok := object.(*corev1.Service)
	return ok && len(service.Spec.ExternalIPs) > 0
}

// serviceClaims returns the index keys of a Service.
func serviceClaims(object client.Object) []string {
	if ClaimsSinkhole(object) {
		return []string{claimSinkhole}
	}
	return nil
}

// services returns the cached Services that can conflict with t: those with an address in the
// ranges of the sinkhole addresses, and the Service that a host of two labels names.
func (c Cache) services(ctx context.Context, t egress.Target) ([]mesh.Service, error) {
	var list corev1.ServiceList
	claiming := client.MatchingFields{indexClaim: claimSinkhole}
	if err := c.List(ctx, &list, claiming, client.UnsafeDisableDeepCopy); err != nil {
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
	there, err := absent.Read(ctx, c, mesh.KindService, namespace, name, &named)
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
