// Package serve_test runs the built command against a real API server, with the chart's manifests and with no more rights than
// they give.
package serve_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"regexp"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"mtls.egress/webhook/test/apiserver"
)

const (
	namespace = "mtls-egress"
	host      = "external.system.com"
	// patience bounds every wait. It is no measure: what it waits for comes soon, or never.
	patience = 2 * time.Minute
)

// TestServe is one story: a webhook comes up in a cluster without its CRD, without Istio, with Istio, gets a second replica, and
// goes.
func TestServe(t *testing.T) {
	server := apiserver.ForTest(t)
	c := newCluster(t, server)

	// The delay has room for what stopsInOrder asks of it, on a busy machine too.
	first := c.replica(t, "--shutdown-delay=15s", "--tls-dns-names=127.0.0.1")
	first.start(t)
	first.wantExit(t, 1)
	first.wantSaid(t, "error: the CRD of EgressTarget (mtls.egress/v1alpha1) is missing; the chart installs it: ")

	c.installChart(t, first)
	first.start(t)
	first.waitReady(t)
	c.namesWhatIsReady(t, first)
	c.namesWhatIsNot(t)
	c.realisesWithoutIstio(t, first)
	c.speaksOnlyModernTLS(t, first)
	c.measures(t, first)
	c.programsOnceIstioIsThere(t, first)

	holder := c.waitForLeader(t, "")
	second := c.replica(t, "--shutdown-delay=0s", "--tls-dns-names=localhost")
	second.start(t)
	second.waitReady(t)
	c.answers(t, second, "localhost")

	c.stopsInOrder(t, first)
	c.waitForLeader(t, holder)

	second.signal(t, syscall.SIGINT)
	second.wantExit(t, 0)
	c.waitForLease(t, "no holder", func(holder string) bool { return holder == "" })

	hasty := c.replica(t, "--shutdown-delay=30s")
	hasty.start(t)
	hasty.waitReady(t)
	hasty.signal(t, syscall.SIGTERM)
	hasty.waitNotReady(t)
	hasty.signal(t, syscall.SIGTERM)
	hasty.wantExit(t, 1)
	hasty.wantSaid(t, "error: stopped by a second signal, before all requests were answered")
}

// namesWhatIsReady: a ready replica lists its checks to whom asks for them.
func (c *cluster) namesWhatIsReady(t *testing.T, r *replica) {
	t.Helper()
	r.wantHealth(t, "/readyz?verbose", http.StatusOK,
		"[+]cache ok\n[+]serving-certificate ok\n[+]shutdown ok\n[+]webhook-server ok\nhealthz check passed\n")
	r.wantHealth(t, "/healthz?verbose", http.StatusOK, "[+]ping ok\nhealthz check passed\n")
}

// namesWhatIsNot: a replica whose account has none of the chart's rights can read neither EgressTargets nor its certificate. It lists the checks that fail of it, says why in
// the log, and stops when it is told to.
func (c *cluster) namesWhatIsNot(t *testing.T) {
	t.Helper()
	r := c.replica(t, "--kubeconfig="+c.kubeconfigOf(t, "nobody"), "--shutdown-delay=0s", "--leader-elect=false")
	r.start(t)
	r.waitNotReady(t)
	r.wantHealth(t, "/readyz?verbose", http.StatusInternalServerError,
		"[-]cache failed: reason withheld\n[-]serving-certificate failed: reason withheld\n[+]shutdown ok\n[-]webhook-server failed: reason withheld\nhealthz check failed\n")
	r.wantHealth(t, "/healthz?verbose", http.StatusOK, "[+]ping ok\nhealthz check passed\n")
	r.wantSaid(t, `"Not ready","logger":"health","check":"cache","reason":"the EgressTargets have not been read yet: the service account must be allowed to list and watch them"`)
	r.signal(t, syscall.SIGTERM)
	r.wantExit(t, 0)
}

func (c *cluster) realisesWithoutIstio(t *testing.T, r *replica) {
	t.Helper()
	r.wantHealth(t, "/healthz", http.StatusOK, "ok")
	r.waitSaid(t, "Istio's CRDs are missing; the controller waits for them.")
	c.answers(t, r, "127.0.0.1")
	// The API server may not have read the caBundle yet, which the replica wrote before it was ready.
	eventually(t, "the API server creates a realised Pod", func() error { return c.createPod(t, "before-istio") })
	labels := c.kubectl(t, "get", "pod", "before-istio", "--output=jsonpath={.metadata.labels}")
	if want := `{"mtls.egress/realised":"true","to.mtls.egress/` + host + `":"true"}`; labels != want {
		t.Errorf("the Pod has the labels %s, want %s", labels, want)
	}
	if targets := c.kubectl(t, "get", "egresstargets", "--output=name"); targets != "" {
		t.Errorf("there are EgressTargets without Istio: %s", targets)
	}
}

// answers sends a request as an API server does. name is what the certificate is verified for.
func (c *cluster) answers(t *testing.T, r *replica, name string) {
	t.Helper()
	if r.mutate(t, c.trust(t), name) {
		t.Error("the connection is closed though nobody stops")
	}
}

func (c *cluster) speaksOnlyModernTLS(t *testing.T, r *replica) {
	t.Helper()
	for name, test := range map[string]struct {
		maxVersion uint16
		protocols  []string
		want       string
	}{
		"TLS 1.2 is refused":         {maxVersion: tls.VersionTLS12, want: "remote error: tls: protocol version not supported"},
		"HTTP/2 alone is refused":    {maxVersion: tls.VersionTLS13, protocols: []string{"h2"}, want: "remote error: tls: no application protocol"},
		"HTTP/1.1 is chosen of both": {maxVersion: tls.VersionTLS13, protocols: []string{"h2", "http/1.1"}, want: "http/1.1"},
	} {
		config := &tls.Config{RootCAs: c.trust(t), ServerName: "127.0.0.1", MaxVersion: test.maxVersion, NextProtos: test.protocols}
		if got := r.handshake(config); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func (c *cluster) measures(t *testing.T, r *replica) {
	t.Helper()
	status, metrics := r.get(t, r.metrics, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics: status %d", status)
	}
	for _, pattern := range []string{
		`(?m)^mtls_egress_admission_requests_total{decision="realised",kind="Pod",reason=""} [1-9]\d*$`,
		`(?m)^mtls_egress_serving_certificate_not_after_timestamp_seconds 1\.\d+e\+09$`,
		`(?m)^controller_runtime_webhook_panics_total 0$`,
	} {
		if !regexp.MustCompile(pattern).MatchString(metrics) {
			t.Errorf("/metrics has nothing like %s", pattern)
		}
	}
}

func (c *cluster) programsOnceIstioIsThere(t *testing.T, r *replica) {
	t.Helper()
	crds, err := apiserver.IstioCRDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.kubectl(t, "apply", "--server-side", "--filename", crds)
	c.kubectl(t, "wait", "--for=create", "egresstarget/"+host, "--timeout="+patience.String())
	r.wantSaid(t, "Istio's CRDs are installed, adding the controller")
	r.wantHealth(t, "/readyz", http.StatusOK, "ok")
}

// stopsInOrder: a replica that is to stop says so at once, and answers until nobody asks it any more.
func (c *cluster) stopsInOrder(t *testing.T, r *replica) {
	t.Helper()
	trust := c.trust(t)
	r.signal(t, syscall.SIGTERM)
	r.waitNotReady(t)
	if !r.mutate(t, trust, "127.0.0.1") {
		t.Error("the connection is kept open though the replica stops")
	}
	if err := c.createPod(t, "while-stopping"); err != nil {
		t.Errorf("the API server can't create a Pod during the delay: %v", err)
	}
	r.wantHealth(t, "/healthz", http.StatusOK, "ok")
	r.wantHealth(t, "/readyz", http.StatusInternalServerError,
		"[+]cache ok\n[+]serving-certificate ok\n[-]shutdown failed: reason withheld\n[+]webhook-server ok\nhealthz check failed\n")
	r.wantExit(t, 0)
}

// waitForLeader waits until somebody else than before holds the Lease, and returns the holder.
func (c *cluster) waitForLeader(t *testing.T, before string) string {
	t.Helper()
	return c.waitForLease(t, "a new leader", func(holder string) bool { return holder != "" && holder != before })
}

func (c *cluster) waitForLease(t *testing.T, what string, ok func(holder string) bool) string {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.server.Config)
	if err != nil {
		t.Fatal(err)
	}
	holder := ""
	eventually(t, "the Lease has "+what, func() error {
		lease, err := client.CoordinationV1().Leases(namespace).Get(t.Context(), "mtls-egress-webhook", metav1.GetOptions{})
		if err != nil {
			return err
		}
		holder = ""
		if lease.Spec.HolderIdentity != nil {
			holder = *lease.Spec.HolderIdentity
		}
		if !ok(holder) {
			return fmt.Errorf("the holder is %q", holder)
		}
		return nil
	})
	return holder
}

// eventually waits until try returns nil.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
