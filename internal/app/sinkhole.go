package app

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/pager"

	"mtls.egress/webhook/internal/egress"
)

// network is a range of addresses that are in use.
type network struct {
	// name says what uses it, such as "the node a".
	name   string
	prefix netip.Prefix
}

// checkSinkhole returns an error for each network that overlaps a range of the sinkhole addresses:
// a call that no sidecar intercepts could arrive there. It also returns one if the Pods of the
// cluster can't have addresses of the family of new ones. podIPs are the addresses of this Pod, if
// it is known.
func checkSinkhole(sinkhole egress.Sinkhole, podIPs []netip.Addr, networks []network) error {
	for _, address := range podIPs {
		networks = append(networks, network{"this Pod", netip.PrefixFrom(address, address.BitLen())})
	}
	var errs []error
	for _, used := range networks {
		if sinkhole.Overlaps(used.prefix) {
			errs = append(errs, fmt.Errorf("%s has %s, which is in the sinkhole range %s, so calls that no sidecar intercepts "+
				"could arrive there in plain text; set the chart's value sinkholeRanges to a range that nothing uses, such as "+
				"198.18.0.0/15", used.name, printed(used.prefix), sinkhole))
		}
	}
	current := sinkhole.Ranges()[0].Addr()
	sameFamily := func(address netip.Addr) bool { return address.Is4() == current.Is4() }
	if len(podIPs) > 0 && !slices.ContainsFunc(podIPs, sameFamily) {
		other := "100::/64"
		if current.Is6() {
			other = egress.DefaultSinkholeRange
		}
		errs = append(errs, fmt.Errorf("Pods of this cluster, such as this one with %s, have no addresses of the "+
			"family of the sinkhole range %s, so calls to targets would fail; set the chart's value sinkholeRanges to a "+
			"range of the other family, such as %s", podIPs[0], sinkhole.Ranges()[0], other))
	}
	return errors.Join(errs...)
}

// printed returns a single address without its prefix length.
func printed(prefix netip.Prefix) string {
	if prefix.IsSingleIP() {
		return "the address " + prefix.Addr().String()
	}
	return "the addresses " + prefix.String()
}

// readNetworks returns the addresses of nodes, of their Pods as far as nodes name them, and of
// Services. What this process may not read, or the API server doesn't serve, is left out.
func readNetworks(ctx context.Context, config *rest.Config) ([]network, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	var networks []network
	add := func(name, text string) {
		address, err := netip.ParseAddr(text)
		prefix := netip.PrefixFrom(address, address.BitLen())
		if err != nil {
			prefix, err = netip.ParsePrefix(text)
		}
		if err == nil { // nodes also have names
			networks = append(networks, network{name, prefix})
		}
	}
	nodes := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return client.CoreV1().Nodes().List(ctx, options)
	})
	nodes.PageSize = nodesPerPage
	err = nodes.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
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
	services, err := client.NetworkingV1().ServiceCIDRs().List(ctx, metav1.ListOptions{})
	if err = unlessUnreadable(err); err != nil {
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
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
