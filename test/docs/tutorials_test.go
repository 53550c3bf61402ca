package docs

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/test/await"
)

const tutorials = root + "/docs/tutorials/"

// firstCall does the steps of the tutorial that need neither nodes nor Istio. Nothing here creates
// the Pod of the Deployment, so it creates one with the annotation of the template.
func firstCall(b *books) {
	dir := b.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "examples"), os.DirFS(root+"/examples")); err != nil {
		b.Fatal(err)
	}
	for _, command := range commandsOf(b.T, tutorials+"first-call.md") {
		command.dir = dir
		command.run(b.T, b.Server, "")
	}
	annotation := b.kubectl("get", "deployment/shop", "--namespace=first-call",
		`--output=jsonpath={.spec.template.metadata.annotations.mtls\.egress/target}`)
	pod := plain("shop")
	pod.Annotations = map[string]string{"mtls.egress/target": annotation}
	pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "istio-proxy", Image: "proxyv2"})
	b.wantPod("first-call", pod, "")
	for _, condition := range []string{"CredentialValid", "Programmed"} {
		b.kubectl("wait", "--for=condition="+condition, "egresstarget/partner.example.com", "--namespace=first-call",
			"--timeout="+await.Patience.String())
	}
	const refusal = `Error from server \(Forbidden\): .* …\n`
	shown := strings.TrimSuffix(regexp.MustCompile(refusal).FindString(read(b.T, tutorials+"first-call.md")), " …\n")
	_, stderr, err := b.Kubectl(b.Context(), "delete", "virtualservice", "mtls-egress-partner.example.com",
		"--namespace=first-call")
	if shown == "" || err == nil || !strings.HasPrefix(stderr, shown) {
		b.Errorf("the tutorial shows the refusal %q; kubectl prints %q, %v", shown, stderr, err)
	}
}

// annotating reads pages that annotate a Deployment, which has no annotation before. The commands
// about the credential run with those of the other documents.
func annotating(b *books) {
	for _, page := range []string{tutorials + "spring-boot.md", root + "/docs/how-to/call-a-partner.md"} {
		b.kubectl("annotate", "deployment/shop", "--namespace=project", "mtls.egress/target-")
		for _, command := range commandsOf(b.T, page) {
			if strings.HasPrefix(command.line, "kubectl ") {
				command.run(b.T, b.Server, "")
			}
		}
		b.wantTarget(page)
	}
}

func (b *books) wantTarget(page string) {
	b.Helper()
	if got := b.kubectl("get", "deployment/shop", "--namespace=project",
		`--output=jsonpath={.spec.template.metadata.annotations.mtls\.egress/target}`); got != "external.system.com" {
		b.Errorf("after %s, the Pod template has the target %q", page, got)
	}
}

// TestTheCertificatesOfTheFirstCall makes the handshake of the tutorial's partner, which its nginx
// makes with the same files.
func TestTheCertificatesOfTheFirstCall(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	script, err := filepath.Abs(root + "/examples/first-call/certificates.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	command := exec.CommandContext(t.Context(), "sh", script)
	command.Dir = dir
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	file := func(name string) string { return filepath.Join(dir, "certificates", name) }
	server := &tls.Config{
		Certificates: []tls.Certificate{pair(t, file("server"))}, ClientCAs: pool(t, file("client-ca.crt")),
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}
	for name, test := range map[string]struct {
		credential []tls.Certificate
		accepted   bool
	}{
		"with the credential":        {credential: []tls.Certificate{pair(t, file("client"))}, accepted: true},
		"without a credential":       {accepted: false},
		"with the server's own pair": {credential: []tls.Certificate{pair(t, file("server"))}, accepted: false},
	} {
		t.Run(name, func(t *testing.T) {
			client := &tls.Config{
				Certificates: test.credential, RootCAs: pool(t, file("server-ca.crt")), ServerName: "partner.example.com",
				MinVersion: tls.VersionTLS12,
			}
			if err := handshake(t, server, client); (err == nil) != test.accepted {
				t.Errorf("the partner accepts it: %t, want %t (%v)", err == nil, test.accepted, err)
			}
		})
	}
}

// handshake returns what the server, or else the client, reports.
func handshake(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	done := make(chan error, 1)
	go func() {
		connection, err := (&tls.Dialer{Config: client}).DialContext(t.Context(), "tcp", listener.Addr().String())
		if err == nil {
			_ = connection.Close()
		}
		done <- err
	}()
	connection, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	err = tls.Server(connection, server).HandshakeContext(t.Context())
	_ = connection.Close()
	if failed := <-done; err == nil {
		err = failed
	}
	return err
}

func pair(t *testing.T, path string) tls.Certificate {
	t.Helper()
	loaded, err := tls.LoadX509KeyPair(path+".crt", path+".key")
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func pool(t *testing.T, path string) *x509.CertPool {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	certificates := x509.NewCertPool()
	if !certificates.AppendCertsFromPEM(content) {
		t.Fatalf("%s has no certificate", path)
	}
	return certificates
}
