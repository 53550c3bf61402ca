package cluster

import (
	"context"
	_ "embed"
	"fmt"
	"path/filepath"
)

//go:embed manifests/istio-values.yaml
var istioValues string

// IstioNamespace is where istiod runs.
const IstioNamespace = "istio-system"

// installIstio installs Istio's own charts with Helm.
func (c *Cluster) installIstio(ctx context.Context) error {
	c.say("installing Istio with Helm")
	if _, err := c.write("istio-values.yaml", istioValues); err != nil {
		return err
	}
	if err := c.helmIstio(ctx, "istio-base", "base", IstioNamespace, "--set"); err != nil {
		return err
	}
	if err := c.ConfigureIstio(ctx); err != nil {
		return err
	}
	return c.Rollout(ctx, "kube-system", "deployment/coredns")
}

// ConfigureIstio installs or upgrades istiod with further values of its chart, each as Helm's
// --set-string takes it, and waits until it runs.
func (c *Cluster) ConfigureIstio(ctx context.Context, values ...string) error {
	if err := c.helmIstio(
		ctx, "istiod", filepath.Join("istio-control", "istio-discovery"), IstioNamespace, "--set-string", values...,
	); err != nil {
		return err
	}
	return c.Rollout(ctx, IstioNamespace, "deployment/istiod")
}

// InstallGateway installs an Istio ingress gateway with Istio's chart, under a release name in a
// namespace, with values as Helm's --set takes them, and waits until it runs.
func (c *Cluster) InstallGateway(ctx context.Context, release, namespace string, values ...string) error {
	if c.node == "" {
		return fmt.Errorf("a gateway needs Istio's chart: set %s to what `go -C test/tools run . node` prints",
			assetsVariable)
	}
	if err := c.helmIstio(ctx, release, "gateway", namespace, "--set", values...); err != nil {
		return err
	}
	return c.Rollout(ctx, namespace, "deployment/"+release)
}

// helmIstio installs or upgrades one of Istio's charts. set is the flag of Helm for the values.
func (c *Cluster) helmIstio(
	ctx context.Context, release, chart, namespace, set string, values ...string,
) error {
	args := []string{
		"upgrade",
		"--install",
		release,
		filepath.Join(c.node, "istio-charts", chart),
		"--namespace",
		namespace,
		"--create-namespace",
	}
	if chart != "gateway" {
		args = append(args, "--values", filepath.Join(c.dir, "istio-values.yaml"))
	}
	for _, value := range values {
		args = append(args, set, value)
	}
	_, _, err := c.Helm(ctx, args...)
	return err
}
