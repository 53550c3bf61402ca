// Command tools provides the servers and clients that the project's tests and its demos run: etcd,
// kube-apiserver, kubectl and Helm, everything that a Kubernetes node with Istio is made of,
// cert-manager, Prometheus with its promtool, the controllers of Argo Rollouts and JobSet, and
// Kyverno. Each command prints one path:
//
//	go -C test/tools run . assets            the directory of etcd, kube-apiserver, kubectl and helm
//	go -C test/tools run . assets 1.31       the same with the API server of another Kubernetes
//	go -C test/tools run . node              the directory of the parts of a node
//	go -C test/tools run . node KIND         the same of a node of another kind
//	go -C test/tools run . istio-crds        the file with Istio's CRDs
//	go -C test/tools run . gateway-crds      the directory of the Gateway API's CRDs
//	go -C test/tools run . prometheus-crds   the directory of the Prometheus operator's CRDs
//	go -C test/tools run . workload-crds     the CRDs of Argo Rollouts, Knative Services and JobSets
//	go -C test/tools run . certmanager       the directory of cert-manager's programs and its chart
//	go -C test/tools run . promtool          the directory of promtool and prometheus
//	go -C test/tools run . pyyaml            the directory of the Python module yaml
//	go -C test/tools run . workloads         the directory of the controllers of workloads
//	go -C test/tools run . kyverno           the directory of Kyverno's admission controller
//
// Each prints a path. Standard output carries the path and nothing else; what is being done, and
// how long it takes, goes to standard error. For assets only Go is needed on the machine.
//
// The servers and kubectl come from the first of these that has them:
//
//  1. the directory in KUBEBUILDER_ASSETS, when that is set;
//  2. an earlier build in the cache;
//  3. setup-envtest, which downloads the release that go.mod names; when it can't, that is
//     remembered for a day;
//  4. a build from source, at the versions in go.mod: on two cores about four minutes with an empty
//     Go build cache.
//
// Helm is built from source in every case, unless the directory in KUBEBUILDER_ASSETS has it too.
//
// The directory of a node holds bin (the assets, the other programs of Kubernetes, and containerd),
// images (archives for `ctr images import`, tagged registry.local/<name>:1: pause, coredns, pilot,
// proxyv2 and clients) and istio-charts (Istio's Helm charts). It is made and used on Linux, by
// root: the programs are built from source, Envoy comes as a Python wheel of a pinned checksum, the
// root file systems of the images are made by debootstrap, and runc, the CNI plugins, nftables and
// what else is missing of the host is installed by apt-get; elsewhere than on Debian, it has to be
// there. On two cores that takes about twelve minutes with an empty Go build cache, a quarter of it
// for pilot-discovery, and 6 GB of disk for the Go caches.
//
// A node of another kind differs in one thing: 1.30 has Istio 1.30 and the Envoy that fits,
// nftables has nft in the image proxyv2, and cni has the image install-cni of Istio's CNI plugin.
// What is the same is made once. On two cores, 1.30 takes about four minutes more.
//
// The directory of cert-manager holds bin (cert-manager-controller, cert-manager-webhook and
// cert-manager-cainjector, built from source) and chart (the release's Helm chart, which has the
// CustomResourceDefinitions and the webhook configurations).
//
// The directory of the controllers of workloads holds bin (argo-rollouts and jobset, built from
// source) and manifests (the folder argo-rollouts-crds, and the files jobset-crd.yaml and
// jobset-webhooks.yaml). On two busy cores the build takes 15 minutes with an empty Go build cache.
//
// The directory of Kyverno holds bin/kyverno (built from source) and install.yaml (what the
// release's Helm chart renders with the default values, with the CustomResourceDefinitions).
//
// Everything is kept in
// ${MTLS_EGRESS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mtls-egress-webhook}/<key>. What is made
// together has a key: of programs, it stands for the content of their go.mod, go.sum and sources,
// their link flags and the platform; of an image, for its parts. So an update rebuilds what it
// concerns; an old key that nothing has used for thirty days is removed. Two callers at a time
// build once: the second one waits. An interrupted build leaves nothing half done.
//
// This is a module of its own so that the webhook's go.mod carries only what the webhook needs. One
// go.mod serves all programs of Kubernetes, so that what they share is compiled once. Helm stays at
// the minor version that is made for the Kubernetes version here, as a later one would move
// packages that decide how the API server behaves (sigs.k8s.io/structured-merge-diff,
// k8s.io/kube-openapi) past the versions that Kubernetes was released with. For the same reason
// containerd, CoreDNS, Istio, cert-manager, Prometheus, the controllers of workloads and Kyverno
// have modules of their own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

const usage = `usage: go -C test/tools run . <command>

commands:
  assets           print the directory that holds etcd, kube-apiserver, kubectl and helm
  assets VERSION   print such a directory with the API server of another Kubernetes, such as 1.31
  node [KIND]      print the directory that holds the parts of a Kubernetes node with Istio (root on Linux).
                   KIND is 1.30 (the release of Istio), nftables or cni
  istio-crds       print the file with Istio's CustomResourceDefinitions
  gateway-crds     print the folder with the Gateway API's CustomResourceDefinitions
  prometheus-crds  print the folder with the Prometheus operator's CustomResourceDefinitions
  workload-crds    print the files with the CustomResourceDefinitions of Argo Rollouts, Knative Services and JobSets
  certmanager      print the directory that holds cert-manager's programs and its chart
  promtool         print the directory that holds promtool and prometheus
  pyyaml           print the directory that holds the Python module yaml
  workloads        print the directory that holds the controllers of Argo Rollouts and JobSet
  kyverno          print the directory that holds Kyverno's admission controller and its manifests`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/tools:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || len(args) > 2 || len(args) == 2 && args[0] != "assets" && args[0] != "node" {
		return errors.New(usage)
	}
	var path string
	var err error
	switch args[0] {
	case "assets":
		path, err = assetsOf(ctx, strings.Join(args[1:], ""), stderr)
	case "node":
		var k kind
		if k, err = kindOf(args[1:]); err == nil {
			path, err = node(ctx, k, stderr)
		}
	case "istio-crds":
		path, err = istioCRDs(ctx)
	case "gateway-crds":
		path, err = gatewayCRDs(ctx)
	case "prometheus-crds":
		path, err = prometheusCRDs(ctx)
	case "workload-crds":
		path, err = workloadCRDs(ctx)
	case "certmanager":
		path, err = certManager(ctx, stderr)
	case "promtool":
		path, err = promtool(ctx, stderr)
	case "pyyaml":
		path, err = pyyaml(ctx, stderr)
	case "workloads":
		path, err = workloads(ctx, stderr)
	case "kyverno":
		path, err = kyverno(ctx, stderr)
	default:
		err = fmt.Errorf("unknown command %q\n%s", args[0], usage)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, path)
	return err
}
