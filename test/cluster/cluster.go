// Package cluster runs a one-node Kubernetes cluster with Istio on real parts, for the tests of the
// data path and their demo: etcd, kube-apiserver, kube-controller-manager, kube-scheduler,
// kube-proxy, kubelet, containerd with runc, CoreDNS, istiod and Envoy. There is no Docker and no
// image registry: test/tools provides programs and images.
//
// Everything runs in namespaces of its own (see Isolate), so nothing is left behind however a run
// ends, nothing leaves the node, and no port is ever taken. Given a KUBECONFIG, Start takes that
// cluster instead.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"mtls.egress/webhook/test/apiserver"
)

// assetsVariable names the directory of programs and images that `go -C test/tools run . node`
// prints.
const assetsVariable = "MTLS_EGRESS_NODE"

// In a cluster of KUBECONFIG these name the cluster IPs that its DNS gives for the names of
// partners.
const (
	partnerVariable = "MTLS_EGRESS_PARTNER_IP"
	gatewayVariable = "MTLS_EGRESS_GATEWAY_IP"
)

// Options of Start. The zero value is fine.
type Options struct {
	// Say is told each step before it is taken, as a sentence without a full stop. Default: nobody is
	// told.
	Say func(step string)
}

// Cluster is a running cluster.
type Cluster struct {
	// Config is the connection of an administrator, in practice without a client-side rate limit.
	Config *rest.Config
	// Client is a client with it.
	Client kubernetes.Interface
	// Kubeconfig is a file with the same connection.
	Kubeconfig string
	// Root is the project's directory.
	Root string
	// Own says that the cluster was started by Start: its components can be stopped, images be loaded,
	// and its DNS knows the names in PartnerZones. Else it is the one of KUBECONFIG.
	Own bool

	// PartnerAddress and GatewayAddress are the cluster IPs that the names in PartnerZones and
	// GatewayZones have.
	PartnerAddress, GatewayAddress string

	dir        string  // of all files
	network    network // of a cluster that Start started
	mesh       Mesh    // of a cluster that Start started
	programs   string  // where kubectl and helm are, and all else of a cluster that Start started
	node       string  // of images and charts
	say        func(string)
	components map[string]*component
}

// Given is the file in KUBECONFIG, or empty.
func Given() string { return os.Getenv("KUBECONFIG") }

// IPv6 reports whether Start starts a cluster whose Pods, Services and node have IPv6 addresses
// only, as MTLS_EGRESS_NODE_FAMILY says.
func IPv6() bool {
	network, err := newNetwork()
	return err == nil && network.ipv6 && Given() == ""
}

// Scratch is where a run may put its files, as os.MkdirTemp takes it: under Isolate a folder that
// ends with it however it ends.
func Scratch() string {
	if isolated() {
		return "/run"
	}
	return ""
}

// Unavailable says in one line why no cluster can be started here and none is given; empty when
// there can be one.
func Unavailable() string {
	switch {
	case Given() != "":
		return ""
	case runtime.GOOS != "linux":
		return "needs Linux to run a Kubernetes node, or a cluster with Istio in KUBECONFIG"
	case os.Geteuid() != 0:
		return "needs root to run a Kubernetes node, or a cluster with Istio in KUBECONFIG"
	case !mayIsolate():
		return "needs the capabilities SYS_ADMIN and NET_ADMIN to run a Kubernetes " +
			"node, or a cluster with Istio in KUBECONFIG"
	}
	return ""
}

// Assets returns the directory of programs, images and charts: the one in MTLS_EGRESS_NODE, else
// the one that test/tools provides for the selected mesh, which on a machine that has none yet
// takes a while and reports its progress on standard error. The process must run within the
// project.
func Assets(ctx context.Context) (string, error) {
	mesh, err := SelectedMesh()
	if err != nil {
		return "", err
	}
	if directory := os.Getenv(assetsVariable); directory != "" {
		return directory, mesh.checkNode(directory)
	}
	path, err := apiserver.Tools(ctx, "node", strings.Fields(mesh.Node)...)
	if err != nil {
		return "", fmt.Errorf("providing the parts of a node: %w", err)
	}
	return path, nil
}

// Start starts a cluster with Istio and returns when a Pod can get a sidecar; or it connects to the
// one of KUBECONFIG. The process must run under Isolate, whose end is the end of the cluster.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	c := &Cluster{say: options.Say, components: map[string]*component{}}
	if c.say == nil {
		c.say = func(string) {}
	}
	var err error
	if c.mesh, err = SelectedMesh(); err != nil {
		return nil, err
	}
	if c.Root, err = apiserver.Root(ctx); err != nil {
		return nil, err
	}
	if given := Given(); given != "" {
		return c, c.connect(ctx, given)
	}
	if c.node, err = Assets(ctx); err != nil {
		return nil, err
	}
	c.programs = filepath.Join(c.node, "bin")
	if c.network, err = newNetwork(); err != nil {
		return nil, err
	}
	c.PartnerAddress, c.GatewayAddress = c.network.partner, c.network.gateway
	if !isolated() {
		return nil, errors.New("a cluster can only be started in namespaces of its own: call cluster.Isolate first")
	}
	c.Own = true
	c.dir = "/run/mtls-egress"
	c.Kubeconfig = filepath.Join(c.dir, "kubeconfig")
	for _, start := range []func(context.Context) error{c.startControlPlane, c.startNode, c.installIstio} {
		if err := start(ctx); err != nil {
			return nil, errors.Join(err, c.lastWords())
		}
	}
	return c, nil
}

// connect takes the cluster of a kubeconfig.
func (c *Cluster) connect(ctx context.Context, kubeconfig string) (err error) {
	c.Kubeconfig = kubeconfig
	c.PartnerAddress, c.GatewayAddress = os.Getenv(partnerVariable), os.Getenv(gatewayVariable)
	if c.PartnerAddress == "" || c.GatewayAddress == "" {
		return fmt.Errorf(
			"in the cluster of KUBECONFIG have DNS answer every name below %s with one free cluster IP, and every name below "+
				"%s with another, and say which in %s and %s",
			strings.ReplaceAll(PartnerZones, " ", " and "), GatewayZones, partnerVariable, gatewayVariable,
		)
	}
	if c.programs, err = apiserver.Assets(ctx); err != nil {
		return err
	}
	c.node = os.Getenv(assetsVariable)
	if err := c.client(); err != nil {
		return err
	}
	c.say("using the cluster " + c.Config.Host)
	if _, _, err := c.Kubectl(ctx, "get", "customresourcedefinition", "destinationrules.networking.istio.io"); err != nil {
		return fmt.Errorf("the cluster of KUBECONFIG has no Istio: %w", err)
	}
	return nil
}

// client fills Config and Client.
func (c *Cluster) client() (err error) {
	if c.Config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
		return err
	}
	c.Config.QPS, c.Config.Burst = 1000, 2000
	c.Client, err = kubernetes.NewForConfig(c.Config)
	return err
}

// Mesh is the mesh that the cluster has: the zero value for the default one, and for that of
// KUBECONFIG.
func (c *Cluster) Mesh() Mesh { return c.mesh }

// Program is the path of a program of the node, such as kubectl or ctr.
func (c *Cluster) Program(name string) string { return filepath.Join(c.programs, name) }

// Command is a program of the node, such as kubectl or helm, that talks to this cluster as
// administrator. The caller's own kubectl and Helm settings and caches have no part in it.
func (c *Cluster) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.Program(program), args...)
	cmd.Env = apiserver.Environment(c.Kubeconfig, c.dir)
	return cmd
}

// Kubectl runs kubectl and returns its outputs. The error carries standard error.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	return apiserver.Output(c.Command(ctx, "kubectl", args...))
}

// Helm runs Helm and returns its outputs. The error carries standard error.
func (c *Cluster) Helm(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	return apiserver.Output(c.Command(ctx, "helm", args...))
}

// Apply applies manifests.
func (c *Cluster) Apply(ctx context.Context, manifests string) error {
	cmd := c.Command(ctx, "kubectl", "apply", "--server-side", "--force-conflicts", "--filename", "-")
	cmd.Stdin = strings.NewReader(manifests)
	_, _, err := apiserver.Output(cmd)
	return err
}

// LoadImage makes the images of a tarball known to the node, so that Pods can use them with
// imagePullPolicy IfNotPresent. Nothing is pulled from anywhere, ever.
func (c *Cluster) LoadImage(ctx context.Context, tarball string) error {
	if !c.Own {
		return fmt.Errorf("the image %s can't be loaded into the cluster of KUBECONFIG: push it to where its nodes pull from",
			filepath.Base(tarball))
	}
	return c.importTarball(ctx, tarball)
}

// LoadImageAs is LoadImage for a tarball with one image, which gets this name. The cluster must be
// one that Start started.
func (c *Cluster) LoadImageAs(ctx context.Context, tarball, name string) error {
	return c.importTarball(ctx, tarball, "--index-name", name)
}

// importTarball has containerd read a tarball, with further arguments of `ctr images import`.
func (c *Cluster) importTarball(ctx context.Context, tarball string, args ...string) error {
	all := slices.Concat([]string{
		"--address", c.containerdSocket(), "--namespace", "k8s.io", "images", "import", "--local",
	}, args, []string{tarball})
	_, _, err := apiserver.Output(exec.CommandContext(ctx, c.Program("ctr"), all...))
	return err
}

// Images is the directory of the node's image tarballs.
func (c *Cluster) Images() string { return filepath.Join(c.node, "images") }
