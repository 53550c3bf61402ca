package serve_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/await"
)

// injectedPod is an annotated Pod as the webhook leaves it, as JSON.
const injectedPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"app","namespace":"default",
	"annotations":{"mtls.egress/target":"` + host + `"},
	"labels":{"mtls.egress/injected":"true","to.mtls.egress/` + host + `":"true"}},
	"spec":{"containers":[{"name":"app","image":"app"}],
		"hostAliases":[{"ip":"254.110.240.171","hostnames":["` + host + `"]}]}}`

// TestServeController is one story: a controller comes up in a cluster without its CRD, then
// without Istio, then with Istio, and never with a webhook. It gets a second replica, loses its
// Lease, and goes.
func TestServeController(t *testing.T) {
	c := newCluster(t, apiserver.ForTest(t))

	first := c.controller(t)
	first.start(t)
	first.wantExit(t, 2)
	first.wantSaid(t, missingCRD)

	// Nobody answers at this port: a Pod that is injected by hand gets past a webhook that may be
	// missing.
	c.installChart(t, freePorts(t, 1)[0], "webhook.failurePolicy=Ignore")
	first.start(t)
	first.waitReady(t)
	first.wantHealth(t, "/readyz?verbose", http.StatusOK, "[+]cache ok\nhealthz check passed\n")
	first.wantHealth(t, "/healthz?verbose", http.StatusOK, "[+]ping ok\nhealthz check passed\n")
	if status, _ := first.get(t, first.profiling, "/debug/pprof/cmdline"); status != http.StatusOK {
		t.Errorf("/debug/pprof/cmdline: status %d", status)
	}
	c.controllerNamesWhatFails(t)
	c.waitsForIstio(t, first)
	c.programsOnceIstioIsThere(t, first)
	first.wantMetrics(t,
		`mtls_egress_target_ready{.*reason="SecretMissing"} 0`,
		`mtls_egress_repairs_total{.*} 0`, `leader_election_master_status{.*} 1`,
		`mtls_egress_mesh_config_readable{configmap="istio"} 0`, // there are CRDs of Istio, and no control plane
	)
	first.wantNoMetrics(t, "mtls_egress_admission", "mtls_egress_serving_certificate")

	second := c.controller(t)
	second.start(t)
	second.waitReady(t)
	second.wantMetrics(t, `mtls_egress_mesh_config_readable{configmap="istio"} 0`, `leader_election_master_status{.*} 0`)
	second.wantNoMetrics(t, "mtls_egress_target", "mtls_egress_credential", "mtls_egress_pods")
	c.losesItsLease(t, first, second)

	first.start(t)
	first.waitReady(t)
	holder := c.holder(t)
	second.signal(t, syscall.SIGTERM)
	second.wantExit(t, 0)
	c.waitForLeader(t, holder, first)

	first.signal(t, syscall.SIGINT)
	first.wantExit(t, 0)
	if holder := c.holder(t); holder != "" {
		t.Errorf("the Lease is held by %s, which has stopped", holder)
	}
	c.controllerLeavesAdmissionAlone(t)
}

// controllerNamesWhatFails runs a controller whose account has none of the chart's rights. It isn't
// ready, logs why, and stops when it is told to.
func (c *cluster) controllerNamesWhatFails(t *testing.T) {
	t.Helper()
	p := c.controller(t, "--kubeconfig="+c.kubeconfigOf(t, "nobody"), "--leader-elect=false")
	p.namesWhatFails(t, "[-]cache failed: reason withheld\n", " and Pods")
}

// waitsForIstio creates a Pod while Istio's CRDs are missing: its target says so, and an event.
func (c *cluster) waitsForIstio(t *testing.T, p *process) {
	t.Helper()
	if err := c.create(t, injectedPod); err != nil {
		t.Fatal(err)
	}
	p.waitSaid(t, "Istio's CRDs are missing")
	const programmed = `--output=jsonpath={range .status.conditions[?(@.type=="Programmed")]}{.status} {.reason}{end}`
	await.Eventually(t, "the condition Programmed", func() error {
		said, _, err := c.server.Kubectl(t.Context(), "get", "egresstarget/"+host, programmed)
		if err == nil && said != "False IstioMissing" {
			err = fmt.Errorf("it is %q", said)
		}
		return err
	})
	await.Eventually(t, "an event", func() error {
		said := c.kubectl(t, "get", "events", "--field-selector=reason=IstioMissing",
			"--output=jsonpath={.items[*].type} {.items[*].involvedObject.kind}")
		if said != "Warning EgressTarget" {
			return fmt.Errorf("there is %q", said)
		}
		return nil
	})
	p.wantHealth(t, "/readyz", http.StatusOK, "ok")
}

// programsOnceIstioIsThere installs Istio's CRDs while the controller runs.
func (c *cluster) programsOnceIstioIsThere(t *testing.T, p *process) {
	t.Helper()
	crds, err := apiserver.IstioCRDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.kubectl(t, "apply", "--server-side", "--filename", crds)
	p.waitSaid(t, "Istio's CRDs are installed")
	c.kubectl(t, "wait", "--for=create", "virtualservice/mtls-egress-"+host, "--timeout="+await.Patience.String())
	await.Eventually(t, "the condition Programmed has another reason", func() error {
		said := c.kubectl(t, "get", "egresstarget/"+host, "--output=jsonpath={.status.conditions}")
		if strings.Contains(said, "IstioMissing") {
			return errors.New(said)
		}
		return nil
	})
	p.wantHealth(t, "/readyz", http.StatusOK, "ok")
}

// losesItsLease freezes the leader until another controller has its Lease. The leader ends as soon
// as it can run again.
func (c *cluster) losesItsLease(t *testing.T, leader, other *process) {
	t.Helper()
	holder := c.holder(t)
	leader.signal(t, syscall.SIGSTOP)
	c.waitForLeader(t, holder, other)
	leader.signal(t, syscall.SIGCONT)
	leader.wantExit(t, 2)
	leader.wantSaid(t, "error: leader election lost")
}

// waitForLeader waits until another controller than the holder before has the Lease, and leader
// knows that it is the one.
func (c *cluster) waitForLeader(t *testing.T, before string, leader *process) {
	t.Helper()
	await.Eventually(t, "a new leader", func() error {
		if holder := c.holder(t); holder == "" || holder == before {
			return fmt.Errorf("the holder of the Lease is %q", holder)
		}
		return nil
	})
	leader.waitSaid(t, "Successfully acquired lease")
}

// holder returns who holds the Lease of the controllers; empty if it has no holder.
func (c *cluster) holder(t *testing.T) string {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.server.Config)
	if err != nil {
		t.Fatal(err)
	}
	lease, err := client.CoordinationV1().
		Leases(namespace).
		Get(t.Context(), "mtls-egress-webhook-controller", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// controllerLeavesAdmissionAlone asks the API server for rights that only the webhook has.
func (c *cluster) controllerLeavesAdmissionAlone(t *testing.T) {
	t.Helper()
	for _, right := range [][2]string{
		{"list", "secret/mtls-egress-webhook-ca"}, {"update", "secret/mtls-egress-webhook-ca"}, {"create", "secrets"},
		{"patch", "mutatingwebhookconfiguration/0-mtls-egress-webhook"},
	} {
		if c.may(t, controllerAccount, namespace, right[0], right[1]) {
			t.Errorf("the controller may %s %s", right[0], right[1])
		}
		if !c.may(t, webhookAccount, namespace, right[0], right[1]) {
			t.Errorf("the webhook may not %s %s", right[0], right[1])
		}
	}
}
