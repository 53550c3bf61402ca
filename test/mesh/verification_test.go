package mesh

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/pki"
	"mtls.egress/webhook/test/scene"
)

// TestACredentialIsTriedBeforeAnyPodPresentsIt has the controller make a handshake with the partner
// from its own Pod: with a credential that the partner takes, and with its successor, which it
// doesn't take. There is no other Pod.
func TestACredentialIsTriedBeforeAnyPodPresentsIt(t *testing.T) {
	t.Parallel()
	s := play(t)
	const host = "verified.system.com"
	namespace := namespace(t, s)
	good, err := s.Credential("tried")
	must(t, err)
	must(t, s.WriteSecret(t.Context(), namespace, "tried", good.Data(scene.LayoutCert)))
	must(t, s.Apply(t.Context(), fmt.Sprintf(`
apiVersion: mtls.egress/v1alpha1
kind: EgressTarget
metadata: {name: %s, namespace: %s}
spec: {credential: {secretName: tried}, verify: true}
`, host, namespace)))
	must(t, hasCondition(t.Context(), s, namespace, host, v1alpha1.ConditionVerified, metav1.ConditionTrue, "Verified"))

	stranger, err := pki.Authority("Somebody Else's CA")
	must(t, err)
	pair, err := stranger.Sign(pki.Client("tried"))
	must(t, err)
	must(t, s.WriteSecret(t.Context(), namespace, "tried",
		scene.Credential{Pair: pair, ServerCA: s.ServerCA.CertPEM}.Data(scene.LayoutCert)))
	must(t, hasCondition(t.Context(), s, namespace, host, v1alpha1.ConditionVerified, metav1.ConditionFalse,
		"IssuerNotAccepted"))

	connections, err := s.Partner().Connections(t.Context(), partner.Filter{})
	must(t, err)
	taken, refused, requests := 0, 0, 0
	for _, connection := range connections {
		switch {
		case connection.SNI != host:
			continue
		case connection.Client != nil && connection.HandshakeError == "" && connection.Client.SerialNumber == good.Serial():
			taken++
		case connection.HandshakeError != "":
			refused++
		}
		requests += connection.Requests
	}
	if taken != 1 || refused != 1 || requests != 0 {
		t.Errorf("the partner took %d handshakes for %s, refused %d, and got %d requests; want one of each and none",
			taken, host, refused, requests)
	}
	var saw partner.Summary
	for _, address := range controllers(t, s) {
		one := seen(t, s, partner.Filter{Remote: address})
		saw.PlainConnections += one.PlainConnections
		saw.PlaintextBytes += one.PlaintextBytes
		saw.PlainRequests += one.PlainRequests
	}
	// A handshake counts as a call here.
	neverPlain(t, saw, figures{
		Promise:  "Never plaintext",
		Fault:    "the controller tries a credential, which the partner takes and then doesn't",
		Requests: taken + refused,
		Failed:   refused,
	})
}

// controllers are the addresses of the controller's Pods, one of which is the leader.
func controllers(t *testing.T, s *scene.Scene) []string {
	t.Helper()
	stdout, _, err := s.Kubectl(t.Context(), "get", "pods", "--namespace", scene.Namespace,
		"--selector", scene.ControllerLabel, "--output", "jsonpath={.items[*].status.podIP}")
	must(t, err)
	addresses := strings.Fields(stdout)
	if len(addresses) == 0 {
		t.Fatal("the controller has no Pods")
	}
	return addresses
}
