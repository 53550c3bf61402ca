package serve_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"mtls.egress/webhook/test/await"
)

// process is the command serve webhook or serve controller, on its own ports of the loopback
// interface.
type process struct {
	cmd *exec.Cmd
	// webhook, health, metrics and profiling are its ports. A controller has no webhook.
	webhook, health, metrics, profiling string

	command []string
	stderr  string
	exited  chan struct{}
}

// webhook prepares a webhook; start starts it.
func (c *cluster) webhook(t *testing.T, flags ...string) *process {
	t.Helper()
	port := freePorts(t, 1)[0]
	p := c.process(t, "webhook", webhookAccount,
		append([]string{"--webhook-host=127.0.0.1", "--webhook-port=" + port}, flags...))
	p.webhook = port
	return p
}

// controller prepares a controller; start starts it.
func (c *cluster) controller(t *testing.T, flags ...string) *process {
	t.Helper()
	return c.process(t, "controller", controllerAccount, flags)
}

// process prepares a process with the rights of an account. Later flags win.
func (c *cluster) process(t *testing.T, kind, account string, flags []string) *process {
	t.Helper()
	ports := freePorts(t, 3)
	return &process{
		health: ports[0], metrics: ports[1], profiling: ports[2], stderr: filepath.Join(t.TempDir(), "stderr"),
		command: append([]string{
			command, "serve", kind, "--kubeconfig=" + c.kubeconfigOf(t, account), "--namespace=" + namespace,
			"--log-format=json", "--log-level=debug",
			"--health-address=127.0.0.1:" + ports[0], "--metrics-address=127.0.0.1:" + ports[1],
			"--profiling-address=127.0.0.1:" + ports[2],
		}, flags...),
	}
}

// freePorts returns ports that nobody listens on.
func freePorts(t *testing.T, count int) []string {
	t.Helper()
	var ports []string
	for range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = listener.Close() }()
		_, port, err := net.SplitHostPort(listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, port)
	}
	return ports
}

// start starts the command, again when it has ended. It is killed at the end of the test when it
// still runs then.
func (p *process) start(t *testing.T) {
	t.Helper()
	stderr, err := os.Create(p.stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stderr.Close() }()
	cmd := exec.Command(p.command[0], p.command[1:]...)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	p.cmd, p.exited = cmd, exited
	go func() {
		_ = cmd.Wait() // its state says how it ended
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // an error means that it has ended
		<-exited
		if t.Failed() {
			t.Logf("%s\n%s", strings.Join(p.command, " "), p.said(t))
		}
	})
}

func (p *process) said(t *testing.T) string {
	t.Helper()
	said, err := os.ReadFile(p.stderr)
	if err != nil {
		t.Fatal(err)
	}
	return string(said)
}

func (p *process) wantSaid(t *testing.T, text string) {
	t.Helper()
	if !strings.Contains(p.said(t), text) {
		t.Errorf("standard error lacks %q", text)
	}
}

// waitSaid waits for what doesn't belong to being ready.
func (p *process) waitSaid(t *testing.T, text string) {
	t.Helper()
	await.Eventually(t, fmt.Sprintf("standard error has %q", text), func() error {
		if !strings.Contains(p.said(t), text) {
			return errors.New("it hasn't")
		}
		return nil
	})
}

func (p *process) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// wantExit waits for the end, after which nobody may listen on the ports.
func (p *process) wantExit(t *testing.T, code int) {
	t.Helper()
	await.Eventually(t, "the command ends", func() error {
		select {
		case <-p.exited:
			return nil
		default:
			return errors.New("it runs")
		}
	})
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d", got, code)
	}
	for _, port := range []string{p.webhook, p.health, p.metrics} {
		if port == "" {
			continue
		}
		if connection, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			_ = connection.Close()
			t.Errorf("somebody still listens on port %s", port)
		}
	}
}

func (p *process) waitReady(t *testing.T) {
	t.Helper()
	p.waitStatus(t, http.StatusOK)
}

func (p *process) waitNotReady(t *testing.T) {
	t.Helper()
	p.waitStatus(t, http.StatusInternalServerError)
}

func (p *process) waitStatus(t *testing.T, want int) {
	t.Helper()
	await.Eventually(t, fmt.Sprintf("/readyz has status %d", want), func() error {
		select {
		case <-p.exited:
			t.Fatalf("the command ended: %s", p.cmd.ProcessState)
		default:
		}
		response, err := http.Get("http://127.0.0.1:" + p.health + "/readyz")
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if err == nil && response.StatusCode != want {
			err = fmt.Errorf("status %d: %s", response.StatusCode, body)
		}
		return err
	})
}

// get asks over plain HTTP.
func (p *process) get(t *testing.T, port, path string) (status int, body string) {
	t.Helper()
	response, err := http.Get("http://127.0.0.1:" + port + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

// wantHealth asks the port of health.
func (p *process) wantHealth(t *testing.T, path string, status int, body string) {
	t.Helper()
	got, content := p.get(t, p.health, path)
	if diff := cmp.Diff([]string{strconv.Itoa(status), body}, []string{strconv.Itoa(got), content}); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

// namesWhatFails starts a process whose account has no right: it isn't ready, lists its checks,
// logs that it couldn't read EgressTargets and what else its cache holds, and stops when it is told
// to.
func (p *process) namesWhatFails(t *testing.T, checks, andOthers string) {
	t.Helper()
	p.start(t)
	p.waitNotReady(t)
	p.wantHealth(t, "/readyz?verbose", http.StatusInternalServerError, checks+"healthz check failed\n")
	p.wantHealth(t, "/healthz?verbose", http.StatusOK, "[+]ping ok\nhealthz check passed\n")
	p.wantSaid(t,
		emptyCache+andOthers+" have not been read yet: the service account must be allowed to list and watch them")
	p.signal(t, syscall.SIGTERM)
	p.wantExit(t, 0)
}

// handshake returns the application protocol that was agreed on, or why there was no connection.
func (p *process) handshake(config *tls.Config) string {
	connection, err := tls.Dial("tcp", "127.0.0.1:"+p.webhook, config)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = connection.Close() }()
	return connection.ConnectionState().NegotiatedProtocol
}

// mutate sends the admission request for an annotated Pod, as an API server does that trusts trust
// and calls the replica name. It wants a patch, and returns whether the replica closes the
// connection.
func (p *process) mutate(t *testing.T, trust *x509.CertPool, name string) (closed bool) {
	t.Helper()
	review := admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID:       "5f2f1f6e-0d4b-4a53-9f0e-6b1f3f9f7c11",
			Kind:      metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
			Resource:  metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
			Name:      "posted",
			Namespace: "default",
			Operation: admissionv1.Create,
			Object:    runtime.RawExtension{Raw: []byte(podManifest("posted"))},
		},
	}
	body, err := json.Marshal(review)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust, ServerName: name}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	response, err := client.Post("https://127.0.0.1:"+p.webhook+"/mutate", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var answered admissionv1.AdmissionReview
	if err := json.NewDecoder(response.Body).Decode(&answered); err != nil {
		t.Fatal(err)
	}
	if answered.Response == nil || !answered.Response.Allowed || answered.Response.UID != review.Request.UID ||
		len(answered.Response.Patch) == 0 {
		t.Fatalf("no patch for this request, but %+v", answered.Response)
	}
	return response.Close
}
