package controller

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/controller"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/policy"
	"mtls.egress/webhook/test/nameserver"
)

// lead writes the endpoints of the target.
func (w *world) lead(endpoints ...v1alpha1.Endpoint) {
	w.Helper()
	egressTarget, err := w.egressTarget()
	if err != nil {
		w.Fatal(err)
	}
	w.patch(egressTarget, map[string]any{"spec": map[string]any{"endpoints": endpoints}})
}

// TestATargetGoesByEndpointsThatAreAllowed leads an open target to a relay, to a gateway in the
// cluster that isn't allowed, to one that is, and back to the host.
func TestATargetGoesByEndpointsThatAreAllowed(t *testing.T) {
	const allowed, other = "gateway.istio-egress.svc.cluster.local", "relay.proxies.svc.cluster.local"
	patterns, problems := policy.ParsePatterns([]string{allowed}, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w := newWorld(t)
	w.credential(secret)
	w.start(controller.Options{Policy: &policy.Cluster{Other: policy.OtherAllow, AllowedEndpoints: patterns}})
	w.pod("app", host)
	w.ready()
	w.programmed(w.defaultSpecs())

	by := func(endpoints ...v1alpha1.Endpoint) map[object]any {
		return w.wantSpecs(egress.FromEgressTarget(w.namespace, host,
			&v1alpha1.EgressTarget{Spec: v1alpha1.EgressTargetSpec{Endpoints: endpoints}}, egress.Sinkhole{}), standardLayout())
	}
	relays := []v1alpha1.Endpoint{{Address: "relay.example", Port: 9443}, {Address: "10.20.30.40", Priority: 1}}
	w.lead(relays...)
	w.programmed(by(relays...))
	w.ready()

	w.lead(v1alpha1.Endpoint{Address: other})
	closed := w.settled(v1alpha1.ConditionProgrammed, metav1.ConditionFalse, "EndpointNotAllowed")
	const want = "the target is closed, and calls on its route get 503 from the sidecar: the endpoint " + other +
		":443 is in the cluster, and no entry of policy.allowedEndpoints in the chart's values matches it; a cluster " +
		"administrator can add " + other + " there"
	if got := meta.FindStatusCondition(closed.Status.Conditions, v1alpha1.ConditionProgrammed).Message; got != want {
		t.Errorf("the message is\n%s\nwant\n%s", got, want)
	}
	w.programmed(w.closedSpecs(standardLayout()))
	w.told(closed, "Warning EndpointNotAllowed")

	w.lead(v1alpha1.Endpoint{Address: allowed})
	w.ready()
	w.programmed(by(v1alpha1.Endpoint{Address: allowed}))

	w.lead()
	w.ready()
	w.programmed(w.defaultSpecs())
}

// TestAHandshakeGoesByTheEndpoints has the controller try the credential by an endpoint, with the
// names of the host, and not at all by an endpoint that isn't allowed.
func TestAHandshakeGoesByTheEndpoints(t *testing.T) {
	w, p := newWorld(t), newPartner(t)
	data, serial := p.secretData(t, p.clientCA, "orders")
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret}, Data: data})
	w.verifiedTarget(p)
	w.lead(v1alpha1.Endpoint{Address: "relay.proxies.svc.cluster.local"})
	options := verifying(t, controller.VerifyMarked)
	// The host has no address.
	options.Prober.Resolver = nameserver.Resolver(t, map[string][]string{"relay.example.": {"127.0.0.1"}})
	w.start(options)
	w.settled(v1alpha1.ConditionVerified, metav1.ConditionUnknown, "EndpointNotAllowed")
	if clients, refused, _ := p.saw(); len(clients)+refused > 0 {
		t.Errorf("the partner saw %d handshakes, want none", len(clients)+refused)
	}
	w.lead(v1alpha1.Endpoint{Address: "misspelled.example"}, v1alpha1.Endpoint{Address: "relay.example"})
	w.settled(v1alpha1.ConditionVerified, metav1.ConditionTrue, "Verified")
	w.sawOnly(p, 0, serial)
	w.lead()
	w.settled(v1alpha1.ConditionVerified, metav1.ConditionFalse, "NameNotResolved")
}
