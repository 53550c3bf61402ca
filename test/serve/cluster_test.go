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
	"mtls.egress/webhook/test/await"
)

// The service accounts of the chart.
const (
	webhookAccount    = "mtls-egress-webhook"
	controllerAccount = "mtls-egress-webhook-controller"
)

// command is the path of the built program.
var command string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "serve")
	if err != nil {
		panic(err)
	}
	command = filepath.Join(dir, "mtls-egress-webhook")
	code := 1
	if output, err := exec.Command(
		"go", "build", "-o", command, "mtls.egress/webhook/cmd/webhook",
	).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, output)
	} else {
		code = m.Run()
	}
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// cluster is the API server that the processes run beside.
type cluster struct {
	server *apiserver.Server
}

func newCluster(t *testing.T, server *apiserver.Server) *cluster {
	t.Helper()
	c := &cluster{server: server}
	// Before the chart is installed its accounts may do what every account may: discover the APIs.
	c.kubectl(t, "create", "namespace", namespace)
	return c
}

// kubeconfigOf returns the path of a connection with the rights of a service account.
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

// installChart installs everything of the chart but the Deployments. webhookPort is where the API
// server calls the webhook.
func (c *cluster) installChart(t *testing.T, webhookPort string, values ...string) {
	t.Helper()
	args := []string{
		"template", "mtls-egress-webhook", filepath.Join("..", "..", "charts", "mtls-egress-webhook"),
		"--namespace", namespace,
		"--set", "webhook.deployment.enabled=false", "--set", "controller.deployment.enabled=false",
		"--set", "webhook.url=https://127.0.0.1:" + webhookPort,
	}
	for _, value := range values {
		args = append(args, "--set", value)
	}
	manifests, _, err := c.server.Helm(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "chart.yaml")
	if err := os.WriteFile(file, []byte(manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	c.kubectl(t, "apply", "--server-side", "--filename", file)
	c.kubectl(t, "wait", "--for=condition=Established", "--timeout="+await.Patience.String(),
		"customresourcedefinition/egresstargets.mtls.egress")
}

// createPod creates an annotated Pod through the API server, which asks the webhook.
func (c *cluster) createPod(t *testing.T, name string) error {
	t.Helper()
	return c.create(t, podManifest(name))
}

func (c *cluster) create(t *testing.T, manifest string) error {
	t.Helper()
	cmd := c.server.Command(t.Context(), "kubectl", "create", "--filename=-")
	cmd.Stdin = strings.NewReader(manifest)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, output)
	}
	return nil
}

// podManifest is an annotated Pod as JSON.
func podManifest(name string) string {
	return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"` + name + `","namespace":"default",` +
		`"annotations":{"mtls.egress/target":"` + host + `"}},"spec":{"containers":[{"name":"app","image":"app"}]}}`
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
