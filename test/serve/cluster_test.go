package serve_test

import (
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"mtls.egress/webhook/test/apiserver"
)

// cluster is the API server and the command that runs beside it.
type cluster struct {
	server *apiserver.Server
	// command is the built command, kubeconfig its connection: that of the chart's service account.
	command, kubeconfig string
}

func newCluster(t *testing.T, server *apiserver.Server) *cluster {
	t.Helper()
	dir := t.TempDir()
	c := &cluster{server: server, command: filepath.Join(dir, "webhook")}
	c.kubeconfig = c.kubeconfigOf(t, "mtls-egress-webhook")
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", c.command, "mtls.egress/webhook/cmd/webhook").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	// What every service account may do, the discovery of APIs, is all that this one may do before the chart is installed.
	c.kubectl(t, "create", "namespace", namespace)
	return c
}

// kubeconfigOf returns the path of a connection with the rights of a service account beside the webhook.
func (c *cluster) kubeconfigOf(t *testing.T, account string) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(c.server.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range config.AuthInfos {
		user.Impersonate = "system:serviceaccount:" + namespace + ":" + account
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func (c *cluster) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	stdout, _, err := c.server.Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return stdout
}

// installChart installs everything of the chart but the Deployment; r takes its place.
func (c *cluster) installChart(t *testing.T, r *replica) {
	t.Helper()
	manifests, _, err := c.server.Helm(t.Context(), "template", "mtls-egress-webhook", filepath.Join("..", "..", "charts", "mtls-egress-webhook"),
		"--namespace", namespace, "--set", "deployment.enabled=false", "--set", "webhook.url=https://127.0.0.1:"+r.webhook)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "chart.yaml")
	if err := os.WriteFile(file, []byte(manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	c.kubectl(t, "apply", "--server-side", "--filename", file)
	c.kubectl(t, "wait", "--for=condition=Established", "--timeout="+patience.String(), "customresourcedefinition/egresstargets.mtls.egress")
}

// createPod creates an annotated Pod through the API server, which asks the webhook.
func (c *cluster) createPod(t *testing.T, name string) error {
	t.Helper()
	cmd := c.server.Command(t.Context(), "kubectl", "create", "--filename=-")
	cmd.Stdin = strings.NewReader(podManifest(name))
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, output)
	}
	return nil
}

// podManifest is an annotated Pod as JSON.
func podManifest(name string) string {
	return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"` + name + `","namespace":"default","annotations":{"mtls.egress/target":"` + host +
		`"}},"spec":{"containers":[{"name":"app","image":"app"}]}}`
}

// trust is the certificate authority in the Secret that the flag --ca-secret names.
func (c *cluster) trust(t *testing.T) *x509.CertPool {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.server.Config)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := client.CoreV1().Secrets(namespace).Get(t.Context(), "mtls-egress-webhook-ca", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(secret.Data["ca.crt"]) {
		t.Fatal("the Secret has no certificate authority")
	}
	return pool
}
