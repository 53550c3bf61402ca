package cluster

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"mtls.egress/webhook/test/pki"
)

// Users of the API server, each with a client certificate and a kubeconfig named after it.
func users() map[string]pkix.Name {
	return map[string]pkix.Name{
		"admin":                   {CommonName: "admin", Organization: []string{"system:masters"}},
		"kube-controller-manager": {CommonName: "system:kube-controller-manager"},
		"kube-scheduler":          {CommonName: "system:kube-scheduler"},
		"kube-proxy":              {CommonName: "system:kube-proxy"},
		"kubelet":                 {CommonName: "system:node:" + nodeName, Organization: []string{"system:nodes"}},
	}
}

// writePKI makes the certificates of the control plane and the kubeconfigs of its users.
func (c *Cluster) writePKI() error {
	ca, err := pki.Authority("kubernetes-ca")
	if err != nil {
		return err
	}
	front, err := pki.Authority("kubernetes-front-proxy-ca")
	if err != nil {
		return err
	}
	// Any pair will do: its key signs the tokens of service accounts.
	accounts, err := ca.Sign(pki.Client("service-accounts"))
	if err != nil {
		return err
	}
	apiserver := pki.Server("kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local", "localhost")
	apiserver.IPAddresses = []net.IP{net.ParseIP(c.network.api), net.ParseIP("127.0.0.1"), net.ParseIP(c.network.node)}
	kubelet := pki.Server(nodeName)
	kubelet.IPAddresses = []net.IP{net.ParseIP(c.network.node)}
	kubeletClient := pki.Client("kube-apiserver-kubelet-client")
	kubeletClient.Subject.Organization = []string{"system:masters"}

	err = errors.Join(
		c.writePair("ca", ca.Pair), c.writePair("front", front.Pair), c.writePair("service-accounts", accounts),
		c.issue(ca, "apiserver", apiserver),
		c.issue(ca, "kubelet-server", kubelet), c.issue(ca, "apiserver-kubelet-client", kubeletClient),
		c.issue(front, "front-client", pki.Client("front-proxy-client")),
	)
	if err != nil {
		return err
	}
	for user, subject := range users() {
		if err := c.writeKubeconfig(ca, user, subject); err != nil {
			return err
		}
	}
	return os.Rename(c.kubeconfigOf("admin"), c.Kubeconfig)
}

func (c *Cluster) issue(ca *pki.CA, name string, template pki.Template) error {
	pair, err := ca.Sign(template)
	if err != nil {
		return err
	}
	return c.writePair(name, pair)
}

func (c *Cluster) writePair(name string, pair pki.Pair) error {
	return errors.Join(
		os.WriteFile(c.pkiFile(name+".crt"), pair.CertPEM, 0o644),
		os.WriteFile(c.pkiFile(name+".key"), pair.KeyPEM, 0o600),
	)
}

func (c *Cluster) pkiFile(name string) string { return filepath.Join(c.dir, "pki", name) }

func (c *Cluster) kubeconfigOf(user string) string {
	return filepath.Join(c.dir, "pki", user+".kubeconfig")
}

func (c *Cluster) writeKubeconfig(ca *pki.CA, user string, subject pkix.Name) error {
	pair, err := ca.Sign(pki.Template{
		Subject:     subject,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return err
	}
	config := api.NewConfig()
	config.Clusters["node"] = &api.Cluster{Server: c.network.apiServer(), CertificateAuthorityData: ca.CertPEM}
	config.AuthInfos[user] = &api.AuthInfo{ClientCertificateData: pair.CertPEM, ClientKeyData: pair.KeyPEM}
	config.Contexts["node"] = &api.Context{Cluster: "node", AuthInfo: user}
	config.CurrentContext = "node"
	return clientcmd.WriteToFile(*config, c.kubeconfigOf(user))
}
