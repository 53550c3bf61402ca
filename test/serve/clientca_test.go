package serve_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/pki"
)

// TestOnlyTheAPIServerIsAnswered has an API server present a client certificate to the webhook, as
// docs/how-to/client-ca.md says, which answers nobody else.
func TestOnlyTheAPIServerIsAnswered(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := pki.NewCA(t, "API servers of this cluster")
	client := ca.Issue(t, pki.Client("kube-apiserver"))
	kubeconfig := api.NewConfig()
	kubeconfig.AuthInfos["*"] = &api.AuthInfo{ClientCertificateData: client.CertPEM, ClientKeyData: client.KeyPEM}
	users := filepath.Join(dir, "webhooks.kubeconfig")
	if err := clientcmd.WriteToFile(*kubeconfig, users); err != nil {
		t.Fatal(err)
	}
	configuration := file("admission.yaml", fmt.Appendf(nil, `apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: MutatingAdmissionWebhook
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: WebhookAdmissionConfiguration
    kubeConfigFile: %s
`, users))
	server, err := apiserver.Start(t.Context(),
		apiserver.Options{Args: map[string][]string{"admission-control-config-file": {configuration}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	c := newCluster(t, server)
	authorities := file("ca.crt", ca.CertPEM)
	r := c.webhook(t, "--shutdown-delay=0s", "--tls-dns-names=127.0.0.1", "--client-ca-file="+authorities)
	c.installChart(t, r.webhook)
	r.start(t)
	r.waitReady(t)
	await.Eventually(t, "a Pod is injected", func() error { return c.createPod(t, "app") })
	if labels := c.kubectl(t, "get", "pod", "app", "--namespace=default",
		"--output=jsonpath={.metadata.labels}"); !strings.Contains(labels, "mtls.egress/injected") {
		t.Errorf("the Pod has the labels %s", labels)
	}
	if status := r.askAs(t, nil); status != 401 {
		t.Errorf("a client without a certificate gets %d", status)
	}
	// Until there is a certificate, the check of readiness is logged for another reason.
	if strings.Contains(r.said(t), "didn't provide a certificate") {
		t.Error("the check of readiness, which has no certificate, is logged")
	}
	if status := r.askAs(t, &client); status != 200 {
		t.Errorf("a client with the API server's certificate gets %d", status)
	}

	wrong := c.webhook(t, "--client-ca-file="+users)
	wrong.start(t)
	wrong.wantExit(t, 2)
	wrong.wantSaid(
		t,
		"error: --client-ca-file: "+users+" contains no valid certificate: it must contain the CA of the API server's "+
			"client certificate in PEM",
	)
}

// askAs sends an admission request with a client certificate, nil for none, and returns the status
// of the answer.
func (p *process) askAs(t *testing.T, client *pki.Pair) int {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	if client != nil {
		config.Certificates = []tls.Certificate{{Certificate: [][]byte{client.Certificate.Raw}, PrivateKey: client.Key}}
	}
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	body := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","kind":{"version":"v1",` +
		`"kind":"Pod"},"namespace":"default","operation":"CREATE","object":` + podManifest("posted") + `}}`
	response, err := (&http.Client{Transport: transport}).Post("https://127.0.0.1:"+p.webhook+"/mutate",
		"application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}
