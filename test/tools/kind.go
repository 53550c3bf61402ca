package main

import (
	"fmt"
	"slices"
	"strings"
)

// kind is a node that differs from the default one. The zero value is not one of them.
type kind struct {
	// name is the argument of the command node. The default node has none.
	name string
	// istio are the programs of Istio, and envoy is the release of Envoy that the proxy runs.
	istio set
	envoy envoy
	// proxyRoot is the root file system of the proxy's image.
	proxyRoot rootFS
	// cni says that the node has the image of Istio's CNI plugin too.
	cni bool
}

// defaultKind is the node that all tests run on, unless they ask for another one.
func defaultKind() kind {
	return kind{istio: istioSet(), envoy: newestEnvoy(), proxyRoot: proxyRootFS()}
}

// kinds are all nodes, the default one first.
func kinds() []kind {
	earlier, nftables, cni := defaultKind(), defaultKind(), defaultKind()
	earlier.name, earlier.istio, earlier.envoy = "1.30", istio130Set(), envoyOfIstio130()
	nftables.name, nftables.proxyRoot = "nftables", proxyRootFS("nftables")
	cni.name, cni.cni = "cni", true
	return []kind{defaultKind(), earlier, nftables, cni}
}

// kindOf returns the kind of node that the arguments of the command node name.
func kindOf(args []string) (kind, error) {
	name := strings.Join(args, " ")
	var names []string
	for _, k := range kinds() {
		if k.name == name {
			return k, nil
		}
		names = append(names, k.name)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "" })
	return kind{}, fmt.Errorf("there is no node %q; write one of %s, or nothing for the default one",
		name, strings.Join(names, ", "))
}
