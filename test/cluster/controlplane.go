package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"mtls.egress/webhook/test/await"
)

const nodeName = "node"

// startControlPlane starts etcd, kube-apiserver, kube-controller-manager and kube-scheduler, and
// containerd beside them, as it takes its time to unpack the images.
func (c *Cluster) startControlPlane(ctx context.Context) error {
	c.say("starting etcd, containerd and the control plane")
	for _, folder := range []string{
		"", "pki", "etcd", "containerd", "containerd/certs.d/_default", "cni", "cni-bin", "kubelet",
		"kubelet-plugins",
	} {
		if err := os.MkdirAll(filepath.Join(c.dir, folder), 0o755); err != nil {
			return err
		}
	}
	if err := c.writePKI(); err != nil {
		return err
	}
	if err := c.client(); err != nil {
		return err
	}
	if err := c.startContainerd(); err != nil {
		return err
	}
	const etcd = "http://127.0.0.1:2379"
	if err := c.start("etcd",
		"--data-dir="+filepath.Join(c.dir, "etcd"), "--listen-client-urls="+etcd, "--advertise-client-urls="+etcd,
		"--unsafe-no-fsync", "--logger=zap",
	); err != nil {
		return err
	}
	if err := await.Until(
		ctx, await.Patience, "etcd", func(ctx context.Context) error { return c.healthy(ctx, etcd+"/health") },
	); err != nil {
		return err
	}
	if err := c.start("kube-apiserver",
		"--etcd-servers="+etcd, "--bind-address="+c.network.node, "--advertise-address="+c.network.node,
		"--secure-port=6443",
		"--tls-cert-file="+c.pkiFile("apiserver.crt"), "--tls-private-key-file="+c.pkiFile("apiserver.key"),
		"--client-ca-file="+c.pkiFile("ca.crt"), "--cert-dir="+c.pkiFile(""),
		"--kubelet-client-certificate="+c.pkiFile("apiserver-kubelet-client.crt"),
		"--kubelet-client-key="+c.pkiFile("apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority="+c.pkiFile("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file="+c.pkiFile("front.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group", "--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file="+c.pkiFile("front-client.crt"), "--proxy-client-key-file="+c.pkiFile("front-client.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+c.pkiFile("service-accounts.crt"),
		"--service-account-signing-key-file="+c.pkiFile("service-accounts.key"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-cluster-ip-range="+c.network.services, "--allow-privileged=true",
	); err != nil {
		return err
	}
	if err := c.importImages(ctx); err != nil {
		return err
	}
	if err := c.AwaitAPIServer(ctx); err != nil {
		return err
	}
	for name, args := range map[string][]string{
		"kube-controller-manager": {
			"--service-account-private-key-file=" + c.pkiFile("service-accounts.key"),
			"--root-ca-file=" + c.pkiFile("ca.crt"), "--use-service-account-credentials",
			"--cluster-signing-cert-file=" + c.pkiFile("ca.crt"), "--cluster-signing-key-file=" + c.pkiFile("ca.key"),
		},
		"kube-scheduler": nil,
	} {
		kubeconfig := c.kubeconfigOf(name)
		if err := c.start(name, append(args,
			"--kubeconfig="+kubeconfig, "--authentication-kubeconfig="+kubeconfig,
			"--authorization-kubeconfig="+kubeconfig, "--bind-address=127.0.0.1", "--leader-elect=false",
		)...); err != nil {
			return err
		}
	}
	return nil
}

// AwaitAPIServer waits until the API server is ready.
func (c *Cluster) AwaitAPIServer(ctx context.Context) error {
	return await.Until(ctx, await.Patience, "kube-apiserver", func(ctx context.Context) error {
		if err := c.alive(); err != nil {
			return err
		}
		return c.Client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

func (c *Cluster) healthy(ctx context.Context, url string) error {
	if err := c.alive(); err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	return errors.Join(err, response.Body.Close())
}

// fill puts values into a text with ${NAMES}.
func fill(text string, values map[string]string) string {
	var pairs []string
	for name, value := range values {
		pairs = append(pairs, "${"+name+"}", value)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
