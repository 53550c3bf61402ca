package cluster

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
)

var (
	//go:embed manifests/containerd.toml
	containerdConfig string
	//go:embed manifests/cni.conflist
	cniConfig string
	//go:embed manifests/kubelet.yaml
	kubeletConfig string
	//go:embed manifests/kube-proxy.yaml
	kubeProxyConfig string
	//go:embed manifests/coredns.yaml
	coreDNS string
)

// Zones of the outside world, as in "external.system.com", separated by spaces.
const (
	PartnerZones = "system.com example.org"
	GatewayZones = "example.net"
)

func (c *Cluster) values() map[string]string {
	values := map[string]string{
		"DIR":             c.dir,
		"BIN":             filepath.Join(c.node, "bin"),
		"PKI":             c.pkiFile(""),
		"CNI_BIN":         filepath.Join(c.dir, "cni-bin"),
		"CNI_CONF":        filepath.Join(c.dir, "cni"),
		"CGROUP":          os.Getenv(cgroupVariable),
		"NODE":            nodeName,
		"PARTNER_ZONES":   PartnerZones,
		"PARTNER_ADDRESS": c.PartnerAddress,
		"GATEWAY_ZONES":   GatewayZones,
		"GATEWAY_ADDRESS": c.GatewayAddress,
		"KUBECONFIG":      c.kubeconfigOf("kube-proxy"),
	}
	maps.Copy(values, c.network.values())
	return values
}

func (c *Cluster) write(name, text string) (path string, err error) {
	path = filepath.Join(c.dir, name)
	return path, os.WriteFile(path, []byte(fill(text, c.values())), 0o644)
}

func (c *Cluster) containerdSocket() string {
	return filepath.Join(c.dir, "containerd", "containerd.sock")
}

func (c *Cluster) startContainerd() error {
	runc, err := exec.LookPath("runc")
	if err != nil {
		return err
	}
	config, err := c.write("containerd.toml", fill(containerdConfig, map[string]string{"RUNC": runc}))
	if err != nil {
		return err
	}
	if _, err := c.write("cni/10-pods.conflist", cniConfig); err != nil {
		return err
	}
	// A missing image is an error, and never a question to a registry.
	if _, err := c.write("containerd/certs.d/_default/hosts.toml",
		"server = \"http://127.0.0.1:1\"\n[host.\"http://127.0.0.1:1\"]\n"+
			"  capabilities = [\"pull\", \"resolve\"]\n"); err != nil {
		return err
	}
	return c.start("containerd", "--config", config)
}

func (c *Cluster) importImages(ctx context.Context) error {
	if err := await.Until(ctx, await.Patience, "containerd", func(ctx context.Context) error {
		if err := c.alive(); err != nil {
			return err
		}
		_, _, err := apiserver.Output(exec.CommandContext(ctx, c.Program("ctr"),
			"--address", c.containerdSocket(), "version"))
		return err
	}); err != nil {
		return err
	}
	c.say("loading images")
	images := []string{"pause", "coredns", "pilot", "proxyv2"}
	if c.mesh.cni {
		images = append(images, "install-cni")
	}
	for _, name := range images {
		if err := c.LoadImage(ctx, filepath.Join(c.Images(), name+".tar")); err != nil {
			return err
		}
	}
	return nil
}

// startNode starts kubelet, kube-proxy and CoreDNS and returns when the node is ready.
func (c *Cluster) startNode(ctx context.Context) error {
	c.say("starting the node")
	if _, err := c.write("resolv.conf", ""); err != nil {
		return err
	}
	kubelet, err := c.write("kubelet.yaml", kubeletConfig)
	if err != nil {
		return err
	}
	if err := c.start("kubelet",
		"--config="+kubelet, "--kubeconfig="+c.kubeconfigOf("kubelet"), "--root-dir="+filepath.Join(c.dir, "kubelet"),
		"--cert-dir="+c.pkiFile(""), "--hostname-override="+nodeName, "--node-ip="+c.network.node,
	); err != nil {
		return err
	}
	proxy, err := c.write("kube-proxy.yaml", kubeProxyConfig)
	if err != nil {
		return err
	}
	if err := c.start("kube-proxy", "--config="+proxy); err != nil {
		return err
	}
	if err := c.Apply(ctx, fill(coreDNS, c.values())); err != nil {
		return err
	}
	return await.Until(ctx, await.Patience, "the node", c.nodeReady)
}

func (c *Cluster) nodeReady(ctx context.Context) error {
	if err := c.alive(); err != nil {
		return err
	}
	node, err := c.Client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
			return fmt.Errorf("not ready: %s", condition.Message)
		} else if condition.Type == corev1.NodeReady {
			return nil
		}
	}
	return errors.New("it has no condition Ready yet")
}

// Rollout waits until a workload runs as asked, as kubectl rollout status does. what is as in
// deployment/coredns.
func (c *Cluster) Rollout(ctx context.Context, namespace, what string) error {
	_, _, err := c.Kubectl(ctx, "--namespace", namespace, "rollout", "status", what, "--timeout="+await.Patience.String())
	return err
}
