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
	if _, err := c.write("mesh-values.yaml", c.mesh.chartValues()); err != nil {
		return err
	}
	if err := c.helmIstio(ctx, "istio-base", "base", IstioNamespace, "--set"); err != nil {
		return err
	}
	if c.mesh.cni {
		if err := c.helmIstio(ctx, "istio-cni", "istio-cni", IstioNamespace, "--set"); err != nil {
			return err
		}
		if err := c.Rollout(ctx, IstioNamespace, "daemonset/istio-cni-node"); err != nil {
			return err
		}
	}
	if err := c.ConfigureIstio(ctx); err != nil {
		return err
	}
	return c.Rollout(ctx, "kube-system", "deployment/coredns")
}

// ConfigureIstio installs or upgrades each istiod with further values of its chart beside those of
// the mesh, each as Helm's --set-string takes it, and waits until it runs.
func (c *Cluster) ConfigureIstio(ctx context.Context, values ...string) error {
	const istiod = "istiod"
	chart := filepath.Join("istio-control", "istio-discovery")
	if len(c.mesh.Revisions) == 0 {
		return c.installIstiod(ctx, istiod, chart, values)
	}
	for _, revision := range c.mesh.Revisions {
		own := append([]string{"revision=" + revision}, values...)
		if err := c.installIstiod(ctx, istiod+"-"+revision, chart, own); err != nil {
			return err
		}
	}
	return nil
}

// installIstiod installs or upgrades a release with the Deployment of its name.
func (c *Cluster) installIstiod(ctx context.Context, release, chart string, values []string) error {
	if err := c.helmIstio(ctx, release, chart, IstioNamespace, "--set-string", values...); err != nil {
		return err
	}
	return c.Rollout(ctx, IstioNamespace, "deployment/"+release)
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
		args = append(args, "--values", filepath.Join(c.dir, "istio-values.yaml"),
			"--values", filepath.Join(c.dir, "mesh-values.yaml"))
	}
	for _, value := range values {
		args = append(args, set, value)
	}
	_, _, err := c.Helm(ctx, args...)
	return err
}
