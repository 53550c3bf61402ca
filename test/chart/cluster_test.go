package chart

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/version"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
)

// The names of the installed release.
const (
	configurationName = "0-mtls-egress-webhook"
	controllerName    = "mtls-egress-webhook-controller"
	// The users of the two processes.
	webhookUser    = "system:serviceaccount:mtls-egress:mtls-egress-webhook"
	controllerUser = "system:serviceaccount:mtls-egress:mtls-egress-webhook-controller"
)

// cluster is an API server and its administrator.
type cluster struct {
	*apiserver.Server
	client.Client
}

func startCluster(t *testing.T) cluster {
	t.Helper()
	server := apiserver.ForTest(t)
	return cluster{Server: server, Client: newClient(t, server.Config)}
}

func newClient(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ofOurMinor reports whether the server is of the minor version of Kubernetes whose libraries the
// product is built with. Others word their messages differently.
func (c cluster) ofOurMinor(t *testing.T) bool {
	t.Helper()
	discovered, err := discovery.NewDiscoveryClientForConfig(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	served, err := discovered.ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	return served.Major+"."+served.Minor == version.DefaultKubeBinaryVersion
}

// as is a client of another user. Without groups of its own the user may do everything, so that
// only admission can refuse it.
func (c cluster) as(t *testing.T, user string, groups ...string) client.Client {
	t.Helper()
	if len(groups) == 0 {
		groups = []string{"system:masters"}
	}
	config := rest.CopyConfig(c.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	return newClient(t, config)
}

// account is a client of a service account, with the groups that the API server gives it.
func (c cluster) account(t *testing.T, user string) client.Client {
	t.Helper()
	parts := strings.Split(user, ":")
	return c.as(t, user, "system:serviceaccounts", "system:serviceaccounts:"+parts[2], "system:authenticated")
}

func (c cluster) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	stdout, _, err := c.Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return stdout
}

func (c cluster) helm(t *testing.T, args ...string) string {
	t.Helper()
	stdout, _, err := c.Helm(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return stdout
}

// istio installs Istio's CustomResourceDefinitions.
func (c cluster) istio(t *testing.T) {
	t.Helper()
	crds, err := apiserver.IstioCRDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.kubectl(t, "apply", "--server-side", "--filename", crds)
	c.kubectl(t, "wait", "--for=condition=Established", "--timeout="+await.Patience.String(), "--filename", crds)
}

// gatewayAPI installs the CustomResourceDefinitions of the Gateway API.
func (c cluster) gatewayAPI(t *testing.T) {
	t.Helper()
	crds, err := apiserver.GatewayCRDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, plural := range []string{"httproutes", "grpcroutes", "tlsroutes", "tcproutes", "backendtlspolicies"} {
		file := filepath.Join(crds, "gateway.networking.k8s.io_"+plural+".yaml")
		c.kubectl(t, "apply", "--server-side", "--filename", file)
		c.kubectl(t, "wait", "--for=condition=Established", "--timeout="+await.Patience.String(), "--filename", file)
	}
}

// prometheus installs the Prometheus operator's CustomResourceDefinitions.
func (c cluster) prometheus(t *testing.T) {
	t.Helper()
	crds, err := apiserver.PrometheusCRDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.kubectl(t, "apply", "--server-side", "--filename", crds)
	c.kubectl(t, "wait", "--for=condition=Established", "--timeout="+await.Patience.String(), "--filename", crds)
}

// namespace makes a namespace.
func (c cluster) namespace(t *testing.T, name string, labels map[string]string) {
	t.Helper()
	if err := c.Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
	}); err != nil {
		t.Fatal(err)
	}
}

// trust writes the caBundle into the webhook configuration, as the running webhook does.
func (c cluster) trust(t *testing.T, bundle []byte) {
	t.Helper()
	configuration := c.configuration(t)
	before := client.MergeFrom(configuration.DeepCopy())
	for i := range configuration.Webhooks {
		configuration.Webhooks[i].ClientConfig.CABundle = bundle
	}
	if err := c.Patch(t.Context(), configuration, before); err != nil {
		t.Fatal(err)
	}
}

func (c cluster) configuration(t *testing.T) *admissionregistrationv1.MutatingWebhookConfiguration {
	t.Helper()
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: configurationName}, configuration); err != nil {
		t.Fatal(err)
	}
	return configuration
}

// stub is a webhook that admits everything as it is and remembers what it was asked.
type stub struct {
	*httptest.Server
	mu    sync.Mutex
	calls []string
}

func startStub(t *testing.T) *stub {
	t.Helper()
	s := &stub{}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *stub) serve(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || r.URL.Path != "/mutate" {
		http.Error(w, fmt.Sprintf("%s: %v", r.URL.Path, err), http.StatusBadRequest)
		return
	}
	request := review.Request
	s.mu.Lock()
	s.calls = append(s.calls, fmt.Sprintf("%s %s %s", request.Operation, request.Kind.Kind, request.Name))
	s.mu.Unlock()
	review.Response = &admissionv1.AdmissionResponse{UID: request.UID, Allowed: true}
	review.Request = nil
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(review); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// take returns what the webhook was asked since the last time, sorted.
func (s *stub) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = nil
	slices.Sort(calls)
	return calls
}

func (s *stub) bundle() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
