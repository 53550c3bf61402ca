package mesh

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/cli"
	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/pki"
	"mtls.egress/webhook/test/scene"
)

// The partner that applies what credential describe prints.
const (
	describedHost = "described.example.net"
	// describedName is that of the Secret with the certificate of its server, and so of the objects
	// that are generated.
	describedName = "described"
	describedDNS  = "shop.client.example.com"
)

// describedPartner is what a partner makes itself: the certificate of the server, and the way from
// the host to the backend, which is told who calls.
const describedPartner = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: described}
spec:
  exportTo: ["."]
  hosts: [described.example.net]
  gateways: [described]
  http:
  - headers: {request: {set: {X-CLIENT-SSL-CN: "%DOWNSTREAM_PEER_SUBJECT%"}}}
    route: [{destination: {host: backend, port: {number: 8000}}}]
`

// describedClient is a client with the names of ours, and another subject if it is a stranger.
func describedClient(t *testing.T, issuer *pki.CA, subject string, dnsNames ...string) pki.Pair {
	t.Helper()
	template := pki.Client("")
	template.RawSubject = distinguishedName(t, subject)
	uri, err := url.Parse(admittedURI)
	must(t, err)
	template.URIs, template.DNSNames = []*url.URL{uri}, dnsNames
	return issuer.Issue(t, template)
}

// startDescribed is the gateway of the other tests, which is taken down whole at the end: they
// start their own, with the same names and addresses.
func startDescribed(t *testing.T, s *scene.Scene) *scene.Gateway {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			explain(t, s, scene.GatewayNamespace)
		}
		_, _, err := s.Kubectl(context.Background(), "delete", "namespace", scene.GatewayNamespace, "--ignore-not-found",
			"--wait", "--timeout=120s")
		must(t, err)
	})
	g, err := s.StartGateway(t.Context(), scene.Admitted{Subject: otherSubject, URI: admittedURI})
	must(t, err)
	server, err := s.ServerCA.Sign(pki.Server(describedHost))
	must(t, err)
	must(t, s.WriteSecret(t.Context(), scene.GatewayNamespace, describedName,
		map[string][]byte{"tls.crt": server.CertPEM, "tls.key": server.KeyPEM}))
	return g
}

// described is what credential describe prints of a Secret in the cluster. The Secret has the
// intermediate but not the root, which is given beside it.
func described(t *testing.T, s *scene.Scene, namespace, secret string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root.pem")
	must(t, os.WriteFile(root, s.ClientCA.CertPEM, 0o600))
	return credentialCommand(t, "describe", "--for-partner", "secret/"+secret, "--namespace", namespace,
		"--kubeconfig", s.Kubeconfig, "--issuer-ca", root, "--target", describedHost, "--credential-name", describedName,
		"--gateway-namespace", scene.GatewayNamespace, "--gateway-selector", "istio=gateway", "-o", "yaml")
}

// credentialCommand is what a credential command prints that has to succeed without a warning.
func credentialCommand(t *testing.T, args ...string) string {
	t.Helper()
	var out, problems bytes.Buffer
	command := cli.NewRootCommand()
	command.SetArgs(append([]string{"credential"}, args...))
	command.SetOut(&out)
	command.SetErr(&problems)
	err := command.ExecuteContext(t.Context())
	// import and complete end with the next steps.
	if doubts, _, _ := strings.Cut(problems.String(), "Next steps:\n"); err != nil || doubts != "" {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, doubts)
	}
	return out.String()
}

// TestAPartnerConfiguredByWhatWeDescribe gives a partner on Istio the manifests that credential
// describe --for-partner makes of our Secret, and calls it with that Secret and as a stranger. It
// doesn't run in parallel, as there is one gateway for all tests.
func TestAPartnerConfiguredByWhatWeDescribe(t *testing.T) {
	s := play(t)
	g := startDescribed(t, s)
	ns := namespace(t, s)
	ours := describedClient(t, g.Issuer, admittedSubject, describedDNS)
	chain := pki.Pair{
		Certificate: ours.Certificate,
		Key:         ours.Key,
		CertPEM:     slices.Concat(ours.CertPEM, g.Issuer.CertPEM),
		KeyPEM:      ours.KeyPEM,
	}
	must(t, s.WriteSecret(t.Context(), ns, "ours",
		scene.Credential{Pair: chain, ServerCA: s.ServerCA.CertPEM}.Data(scene.LayoutCert)))
	must(t, s.Apply(t.Context(), described(t, s, ns, "ours")))
	must(t, s.Apply(t.Context(), strings.Replace(describedPartner, "{name: described}",
		"{name: described, namespace: "+scene.GatewayNamespace+"}", 1)))
	stranger := deployed(t, s, scene.App{Namespace: ns, Name: "stranger"})
	// The gateway learns of the host a moment after the API server did. Until then what it gets for
	// the host counts as a plain connection, as it matches nothing.
	must(t, scene.Until(t.Context(), "the gateway admits our certificate", func(ctx context.Context) error {
		_, err := expect(ctx, s.Caller(stranger), describedCall(s, ours, nil), "200")
		return err
	}))
	before, err := g.PlainConnections(t.Context())
	must(t, err)

	// With TLS 1.3 a server refuses the client's certificate after the handshake is over for the
	// client, whose sidecar sees a connection that ends, and no reason.
	refused := regexp.MustCompile(`" 503 UC `)
	foreign := pki.NewCA(t, "Somebody Else's CA")
	calls := []struct {
		sentence string
		gatewayCall
	}{
		{
			"our credential",
			gatewayCall{
				host:     describedHost,
				client:   chain,
				want:     "200",
				identity: http.Header{"X-Client-Ssl-Cn": {admittedSubject}},
			},
		},
		{
			"another subject of the same issuer, with the same names",
			gatewayCall{
				host:   describedHost,
				client: describedClient(t, g.Issuer, otherSubject, describedDNS),
				want:   "403",
				says:   "RBAC: access denied",
			},
		},
		{
			"the same subject and URI, with another name beside",
			gatewayCall{
				host:   describedHost,
				client: describedClient(t, g.Issuer, admittedSubject, describedDNS, "more.example.com"),
				want:   "403",
				says:   "RBAC: access denied",
			},
		},
		{
			"a certificate of the same CA without the names",
			gatewayCall{
				host:   describedHost,
				client: namesClient(t, s, "other.example.com"),
				want:   "503",
				says:   "connection termination",
				logs:   refused,
			},
		},
		{
			"the same subject and names, signed by another CA",
			gatewayCall{
				host:   describedHost,
				client: describedClient(t, foreign, admittedSubject, describedDNS),
				want:   "503",
				says:   "connection termination",
				logs:   refused,
			},
		},
	}
	row := figures{
		Promise: "Partner behind an Istio gateway",
		Fault:   "configured with what credential describe prints, and called by strangers",
	}
	for _, call := range calls {
		t.Run(call.sentence, func(t *testing.T) { call.make(t, s, g, ns) })
		row.Requests += gatewayCalls
		if call.want == "503" {
			row.Failed += gatewayCalls
		}
	}
	t.Run("strangers that do TLS themselves", func(t *testing.T) { callAsAStranger(t, s, g, stranger, ours) })

	after, err := g.PlainConnections(t.Context())
	must(t, err)
	neverPlain(t, partner.Summary{PlainConnections: after - before}, row)
}

// describedCall is a call without a sidecar's help.
func describedCall(s *scene.Scene, client pki.Pair, headers map[string]string) caller.Call {
	return caller.Call{
		URL:           "https://" + describedHost + "/described/itself",
		Headers:       headers,
		CAPEM:         string(s.ServerCA.CertPEM),
		ClientCertPEM: string(client.CertPEM),
		ClientKeyPEM:  string(client.KeyPEM),
	}
}

// callAsAStranger calls without a certificate, and with one of the same issuer, while saying to be
// ours in the headers that the gateway writes.
func callAsAStranger(t *testing.T, s *scene.Scene, g *scene.Gateway, pod *corev1.Pod, ours pki.Pair) {
	other := describedClient(t, g.Issuer, otherSubject, describedDNS)
	forged := map[string]string{
		"X-Forwarded-Client-Cert": forwarded(ours, admittedSubject) + ";DNS=" + describedDNS,
		"X-Client-Ssl-Cn":         admittedSubject,
	}
	for sentence, headers := range map[string]map[string]string{"no certificate": nil, "no certificate, and a forged " +
		"header": forged} {
		t.Run(sentence, func(t *testing.T) {
			refusedByAlert(t, s, pod, describedCall(s, pki.Pair{}, headers), "certificate required")
		})
	}
	t.Run("another subject, and a forged header", func(t *testing.T) {
		results, err := expect(t.Context(), s.Caller(pod), describedCall(s, other, forged), "403")
		must(t, err)
		if !strings.Contains(results[0].Body, "RBAC: access denied") {
			t.Errorf("the stranger got %q, which isn't the policy's answer", results[0].Body)
		}
	})
}

// refusedByAlert makes a call that does TLS itself until the alert with which the server refuses it
// arrives. With TLS 1.3 the server refuses when the client sends already; a connection that is
// closed with bytes unread is reset (RFC 9293, section 3.6.1), and the reset may overtake the
// alert. No call may be answered.
func refusedByAlert(t *testing.T, s *scene.Scene, pod *corev1.Pod, call caller.Call, says string) {
	t.Helper()
	must(t, scene.Until(t.Context(), "the alert", func(ctx context.Context) error {
		results, err := s.Caller(pod).Call(ctx, call)
		if err != nil {
			return err
		}
		result := results[0]
		if result.Status != 0 {
			t.Errorf("%s is answered with %d %s", call.URL, result.Status, result.Body)
			return nil
		}
		if result.Outcome != caller.OutcomeTLS || !strings.Contains(result.Error, says) {
			return fmt.Errorf("the app got %s (%s), which doesn't say %q", result.Outcome, result.Error, says)
		}
		return nil
	}))
}
