package serve_test

import (
	"crypto/tls"
	"maps"
	"net/http"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
)

// TestServeWebhook is one story: a webhook comes up in a cluster without its CRD, and then without
// Istio and without a controller, gets a second replica, and goes.
func TestServeWebhook(t *testing.T) {
	c := newCluster(t, apiserver.ForTest(t))

	// The delay has room for what stopsInOrder asks of it, on a busy machine too.
	first := c.webhook(t, "--shutdown-delay=15s", "--tls-dns-names=127.0.0.1")
	first.start(t)
	first.wantExit(t, 2)
	first.wantSaid(t, missingCRD)

	c.installChart(t, first.webhook)
	first.start(t)
	first.waitReady(t)
	first.wantHealth(t, "/readyz?verbose", http.StatusOK,
		"[+]cache ok\n[+]serving-certificate ok\n[+]shutdown ok\n[+]webhook-server ok\nhealthz check passed\n")
	first.wantHealth(t, "/healthz?verbose", http.StatusOK, "[+]ping ok\nhealthz check passed\n")
	if status, _ := first.get(t, first.profiling, "/debug/pprof/cmdline"); status != http.StatusOK {
		t.Errorf("/debug/pprof/cmdline: status %d", status)
	}
	c.webhookNamesWhatFails(t)
	c.injectsAlone(t, first)
	c.speaksOnlyModernTLS(t, first)
	first.wantMetrics(t,
		`mtls_egress_admission_requests_total{decision="injected",kind="Pod",reason=""} [1-9]\d*`,
		`mtls_egress_serving_certificate_not_after_timestamp_seconds 1\.\d+e\+09`,
		`mtls_egress_mesh_config_readable{configmap="istio"} 0`,
		`controller_runtime_webhook_panics_total 0`,
	)
	first.wantNoMetrics(t, "mtls_egress_target", "mtls_egress_credential", "mtls_egress_repairs", "leader_election")

	second := c.webhook(t, "--shutdown-delay=0s", "--tls-dns-names=localhost")
	second.start(t)
	second.waitReady(t)
	c.answers(t, second, "localhost")

	c.stopsInOrder(t, first)
	c.answers(t, second, "localhost")
	second.signal(t, syscall.SIGINT)
	second.wantExit(t, 0)

	hasty := c.webhook(t, "--shutdown-delay=30s")
	hasty.start(t)
	hasty.waitReady(t)
	hasty.signal(t, syscall.SIGTERM)
	hasty.waitNotReady(t)
	hasty.signal(t, syscall.SIGTERM)
	hasty.wantExit(t, 2)
	hasty.wantSaid(t, "error: stopped by a second signal before all requests were finished")

	c.webhookSeesNoSecrets(t)
}

// webhookNamesWhatFails runs a webhook whose account has none of the chart's rights, so that it can
// read neither EgressTargets nor its certificate. It lists the failed checks, logs why they fail,
// and stops when it is told to.
func (c *cluster) webhookNamesWhatFails(t *testing.T) {
	t.Helper()
	p := c.webhook(t, "--kubeconfig="+c.kubeconfigOf(t, "nobody"), "--shutdown-delay=0s")
	p.namesWhatFails(t, "[-]cache failed: reason withheld\n[-]serving-certificate failed: reason withheld\n"+
		"[+]shutdown ok\n[-]webhook-server failed: reason withheld\n", " and Namespaces")
}

// injectsAlone has the API server ask a webhook in a cluster without Istio and without a
// controller.
func (c *cluster) injectsAlone(t *testing.T, p *process) {
	t.Helper()
	c.answers(t, p, "127.0.0.1")
	// The API server may not have read the caBundle yet, which the webhook wrote before it was ready.
	await.Eventually(t, "the API server creates a injected Pod", func() error { return c.createPod(t, "before-istio") })
	labels := c.kubectl(t, "get", "pod", "before-istio", "--output=jsonpath={.metadata.labels}")
	if want := `{"mtls.egress/injected":"true","to.mtls.egress/` + host + `":"true"}`; labels != want {
		t.Errorf("the Pod has the labels %s, want %s", labels, want)
	}
	if targets := c.kubectl(t, "get", "egresstargets", "--output=name"); targets != "" {
		t.Errorf("there are EgressTargets without a controller: %s", targets)
	}
}

// answers sends a request as an API server does. name is what the certificate is verified for.
func (c *cluster) answers(t *testing.T, p *process, name string) {
	t.Helper()
	if p.mutate(t, c.trust(t), name) {
		t.Error("the connection is closed though nobody stops")
	}
}

func (c *cluster) speaksOnlyModernTLS(t *testing.T, p *process) {
	t.Helper()
	for name, test := range map[string]struct {
		maxVersion uint16
		protocols  []string
		want       string
	}{
		"TLS 1.2 is refused": {
			maxVersion: tls.VersionTLS12,
			want:       "remote error: tls: protocol version not supported",
		},
		"HTTP/2 alone is refused": {
			maxVersion: tls.VersionTLS13,
			protocols:  []string{"h2"},
			want:       "remote error: tls: no application protocol",
		},
		"HTTP/1.1 is chosen of both": {maxVersion: tls.VersionTLS13, protocols: []string{"h2", "http/1.1"}, want: "http/1.1"},
	} {
		config := &tls.Config{
			RootCAs:    c.trust(t),
			ServerName: "127.0.0.1",
			MaxVersion: test.maxVersion,
			NextProtos: test.protocols,
		}
		if got := p.handshake(config); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

// stopsInOrder stops a webhook, which reports at once that it isn't ready, and answers until no API
// server asks it any more.
func (c *cluster) stopsInOrder(t *testing.T, p *process) {
	t.Helper()
	trust := c.trust(t)
	p.signal(t, syscall.SIGTERM)
	p.waitNotReady(t)
	if !p.mutate(t, trust, "127.0.0.1") {
		t.Error("the connection is kept open though the webhook stops")
	}
	if err := c.createPod(t, "while-stopping"); err != nil {
		t.Errorf("the API server can't create a Pod during the delay: %v", err)
	}
	p.wantHealth(t, "/healthz", http.StatusOK, "ok")
	p.wantHealth(
		t, "/readyz", http.StatusInternalServerError,
		"[+]cache ok\n[+]serving-certificate ok\n[-]shutdown failed: reason withheld\n"+
			"[+]webhook-server ok\nhealthz check failed\n",
	)
	p.wantExit(t, 0)
}

// webhookSeesNoSecrets asks the API server for the rights of the webhook's account.
func (c *cluster) webhookSeesNoSecrets(t *testing.T) {
	t.Helper()
	const own = "secret/mtls-egress-webhook-ca"
	got := map[string]bool{}
	for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete"} {
		got[verb+" Secrets of other namespaces"] = c.may(t, webhookAccount, "default", verb, "secrets")
		got[verb+" Secrets of its own namespace"] = c.may(t, webhookAccount, namespace, verb, "secrets")
		got[verb+" the Secret of its CA"] = c.may(t, webhookAccount, namespace, verb, own)
	}
	maps.DeleteFunc(got, func(_ string, may bool) bool { return !may })
	want := map[string]bool{
		// RBAC can't limit create to a name.
		"create Secrets of its own namespace": true, "create the Secret of its CA": true,
		"list the Secret of its CA": true, "watch the Secret of its CA": true, "update the Secret of its CA": true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the webhook may do (-want +got):\n%s", diff)
	}
}
