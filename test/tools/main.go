// Command tools provides the servers and clients that the project's tests and its demo run: etcd, kube-apiserver, kubectl and Helm.
//
//	go -C test/tools run . assets       prints the directory that holds etcd, kube-apiserver, kubectl and helm
//	go -C test/tools run . istio-crds   prints the file with Istio's CustomResourceDefinitions
//
// Standard output carries the path and nothing else; what is being done, and how long it takes, goes to standard error. Only Go is needed on the machine.
//
// The servers and kubectl come from the first of these that has them:
//
//  1. the directory in KUBEBUILDER_ASSETS, when that is set;
//  2. an earlier build in the cache;
//  3. setup-envtest, which downloads the release that go.mod names; when it can't, that is remembered for a day;
//  4. a build from source, at the versions in go.mod: on two cores about four minutes with an empty Go build cache.
//
// Helm is built from source in every case, unless the directory in KUBEBUILDER_ASSETS has it too.
//
// Everything is kept in ${MTLS_EGRESS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mtls-egress-webhook}/<key>, where the key stands for the content of go.mod, go.sum and
// cmd, the programs with their link flags, and the platform: an update builds anew, an old key that nothing has used for thirty days is removed. Two callers at a time build once: the second one
// waits. An interrupted build leaves nothing half done.
//
// This is a module of its own so that the webhook's go.mod carries only what the webhook needs. One go.mod serves all programs, so that what they share is compiled
// once. Helm stays at the minor version that is made for the Kubernetes version here, as a later one would move packages that decide how the API server behaves
// (sigs.k8s.io/structured-merge-diff, k8s.io/kube-openapi) past the versions that Kubernetes was released with.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: go -C test/tools run . <command>

commands:
  assets       print the directory that holds etcd, kube-apiserver, kubectl and helm
  istio-crds   print the file with Istio's CustomResourceDefinitions`

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
	if len(args) != 1 {
		return errors.New(usage)
	}
	var path string
	var err error
	switch args[0] {
	case "assets":
		path, err = assets(ctx, stderr)
	case "istio-crds":
		path, err = istioCRDs(ctx)
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
