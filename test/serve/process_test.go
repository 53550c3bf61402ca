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
)

// replica is the command serve, on ports of the loopback interface of its own.
type replica struct {
	cmd *exec.Cmd
	// webhook, health and metrics are its ports.
	webhook, health, metrics string

	command []string
	stderr  string
	exited  chan struct{}
}

// replica prepares a replica; start starts it.
func (c *cluster) replica(t *testing.T, flags ...string) *replica {
	t.Helper()
	ports := freePorts(t, 3)
	r := &replica{webhook: ports[0], health: ports[1], metrics: ports[2], stderr: filepath.Join(t.TempDir(), "stderr")}
	r.command = append([]string{
		c.command, "serve", "--kubeconfig=" + c.kubeconfig, "--namespace=" + namespace, "--log-format=json", "--log-level=debug",
		"--webhook-host=127.0.0.1", "--webhook-port=" + r.webhook, "--health-address=127.0.0.1:" + r.health, "--metrics-address=127.0.0.1:" + r.metrics,
	}, flags...)
	return r
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

// start starts the command, anew when it has ended. It is killed at the end of the test when it still runs then.
func (r *replica) start(t *testing.T) {
	t.Helper()
	stderr, err := os.Create(r.stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stderr.Close() }()
	cmd := exec.Command(r.command[0], r.command[1:]...)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	r.cmd, r.exited = cmd, exited
	go func() {
		_ = cmd.Wait() // its state says how it ended
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // an error means that it has ended
		<-exited
		if t.Failed() {
			t.Logf("%s\n%s", strings.Join(r.command, " "), r.said(t))
		}
	})
}

func (r *replica) said(t *testing.T) string {
	t.Helper()
	said, err := os.ReadFile(r.stderr)
	if err != nil {
		t.Fatal(err)
	}
	return string(said)
}

func (r *replica) wantSaid(t *testing.T, text string) {
	t.Helper()
	if !strings.Contains(r.said(t), text) {
		t.Errorf("standard error lacks %q", text)
	}
}

// waitSaid waits for what doesn't belong to being ready.
func (r *replica) waitSaid(t *testing.T, text string) {
	t.Helper()
	eventually(t, fmt.Sprintf("standard error has %q", text), func() error {
		if !strings.Contains(r.said(t), text) {
			return errors.New("it hasn't")
		}
		return nil
	})
}

func (r *replica) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// wantExit waits for the end, after which nobody may listen on the ports.
func (r *replica) wantExit(t *testing.T, code int) {
	t.Helper()
	eventually(t, "the command ends", func() error {
		select {
		case <-r.exited:
			return nil
		default:
			return errors.New("it runs")
		}
	})
	if got := r.cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d", got, code)
	}
	for _, port := range []string{r.webhook, r.health, r.metrics} {
		if connection, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			_ = connection.Close()
			t.Errorf("somebody still listens on port %s", port)
		}
	}
}

func (r *replica) waitReady(t *testing.T) {
	t.Helper()
	r.waitStatus(t, http.StatusOK)
}

func (r *replica) waitNotReady(t *testing.T) {
	t.Helper()
	r.waitStatus(t, http.StatusInternalServerError)
}

func (r *replica) waitStatus(t *testing.T, want int) {
	t.Helper()
	eventually(t, fmt.Sprintf("/readyz has status %d", want), func() error {
		select {
		case <-r.exited:
			t.Fatalf("the command ended: %s", r.cmd.ProcessState)
		default:
		}
		response, err := http.Get("http://127.0.0.1:" + r.health + "/readyz")
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
func (r *replica) get(t *testing.T, port, path string) (status int, body string) {
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
func (r *replica) wantHealth(t *testing.T, path string, status int, body string) {
	t.Helper()
	got, content := r.get(t, r.health, path)
	if diff := cmp.Diff([]string{strconv.Itoa(status), body}, []string{strconv.Itoa(got), content}); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

// handshake returns the application protocol that was agreed on, or why there was no connection.
func (r *replica) handshake(config *tls.Config) string {
	connection, err := tls.Dial("tcp", "127.0.0.1:"+r.webhook, config)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = connection.Close() }()
	return connection.ConnectionState().NegotiatedProtocol
}

// mutate sends the admission request for an annotated Pod, as an API server does that trusts trust and calls the replica name.
// It wants a patch, and returns whether the replica closes the connection.
func (r *replica) mutate(t *testing.T, trust *x509.CertPool, name string) (closed bool) {
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
	response, err := client.Post("https://127.0.0.1:"+r.webhook+"/mutate", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var answered admissionv1.AdmissionReview
	if err := json.NewDecoder(response.Body).Decode(&answered); err != nil {
		t.Fatal(err)
	}
	if answered.Response == nil || !answered.Response.Allowed || answered.Response.UID != review.Request.UID || len(answered.Response.Patch) == 0 {
		t.Fatalf("no patch for this request, but %+v", answered.Response)
	}
	return response.Close
}
