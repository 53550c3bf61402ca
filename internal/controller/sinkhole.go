package controller

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/internal/egress"
)

// readNetworks returns the addresses of nodes, of their Pods as far as nodes name them, and of
// Services. What this process may not read, or the API server doesn't serve, is left out.
func readNetworks(ctx context.Context, live client.Reader) ([]egress.Network, error) {
	var networks []egress.Network
	add := func(name, text string) {
		address, err := netip.ParseAddr(text)
		prefix := netip.PrefixFrom(address, address.BitLen())
		if err != nil {
			prefix, err = netip.ParsePrefix(text)
		}
		if err == nil { // nodes also have names
			networks = append(networks, egress.Network{Name: name, Prefix: prefix})
		}
	}
	nodes := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		var list corev1.NodeList
		return &list, live.List(ctx, &list, &client.ListOptions{Raw: &options})
	})
	nodes.PageSize = nodesPerPage
	err := nodes.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		node, ok := object.(*corev1.Node)
		if !ok {
			return fmt.Errorf("the list of Nodes has a %T", object)
		}
		for _, address := range node.Status.Addresses {
			add("the node "+node.Name, address.Address)
		}
		for _, text := range node.Spec.PodCIDRs {
			add("the Pod range of the node "+node.Name, text)
		}
		return nil
	})
	if err = unlessUnreadable(err); err != nil {
		return nil, fmt.Errorf("list the Nodes: %w", err)
	}
	var services networkingv1.ServiceCIDRList
	if err := unlessUnreadable(live.List(ctx, &services)); err != nil {
		return nil, fmt.Errorf("list the ServiceCIDRs: %w", err)
	}
	for _, each := range services.Items {
		for _, text := range each.Spec.CIDRs {
			add("the ServiceCIDR "+each.Name, text)
		}
	}
	return networks, nil
}

// nodesPerPage bounds the memory for Nodes, of which each can take 20 KiB.
const nodesPerPage = 100

// unlessUnreadable returns err, or nil if it says that a list may not be read or isn't served:
// ServiceCIDRs are served since Kubernetes 1.33.
func unlessUnreadable(err error) error {
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		return nil
	}
	return err
}
