package mesh

import (
	"context"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/pki"
	"mtls.egress/webhook/test/scene"
)

// Whom the partner behind the gateway admits. The subject is written as Envoy prints it, in its
// headers and in x-forwarded-client-cert: as RFC 2253 has it, the last attribute of the certificate
// first, attributes separated by a comma alone. The certificate itself begins with the country, as
// is usual.
const (
	admittedSubject = "CN=shop (P000000),L=a1b2c3.accounts.example.com," +
		"OU=8e1affb2-62a1-43cc-a687,OU=Clients,O=Example SE,C=DE"
	otherSubject = "CN=shop (P000001),L=a1b2c3.accounts.example.com," +
		"OU=8e1affb2-62a1-43cc-a687,OU=Clients,O=Example SE,C=DE"
	issuerSubject = "CN=Partner Client Issuer,O=Example SE,C=DE"
	admittedURI   = "urn:example:shop"
)

// identityClient is a client of the partner that looks at subjects. Its certificate has the subject
// in the order that Envoy prints it in, reversed.
func identityClient(t *testing.T, g *scene.Gateway, subject string) pki.Pair {
	t.Helper()
	template := pki.Client("")
	template.RawSubject = distinguishedName(t, subject)
	uri, err := url.Parse(admittedURI)
	must(t, err)
	template.URIs = []*url.URL{uri}
	return g.Issuer.Issue(t, template)
}

// distinguishedName encodes a name that is written with its last attribute first and has no special
// characters.
func distinguishedName(t *testing.T, name string) []byte {
	t.Helper()
	types := map[string]asn1.ObjectIdentifier{
		"C":  {2, 5, 4, 6},
		"L":  {2, 5, 4, 7},
		"O":  {2, 5, 4, 10},
		"OU": {2, 5, 4, 11},
		"CN": {2, 5, 4, 3},
	}
	var sequence pkix.RDNSequence
	for attribute := range strings.SplitSeq(name, ",") {
		kind, value, _ := strings.Cut(attribute, "=")
		sequence = append(pkix.RDNSequence{{{Type: types[kind], Value: value}}}, sequence...)
	}
	der, err := asn1.Marshal(sequence)
	must(t, err)
	return der
}

// namesClient is a client of the partner that looks at subject alternative names.
func namesClient(t *testing.T, s *scene.Scene, names ...string) pki.Pair {
	t.Helper()
	template := pki.Client("shop")
	template.DNSNames = names
	return s.ClientCA.Issue(t, template)
}

// TestAPartnerBehindAnIstioGateway calls partners whose mutual TLS ends in an Istio gateway, each
// set up as a published how-to has it: with the CAs in a Secret of their own, identity headers and
// a policy on the subject; with a check of the client's names; with any certificate of the CA, and
// plain calls redirected.
func TestAPartnerBehindAnIstioGateway(t *testing.T) {
	t.Parallel()
	s := play(t)
	g, err := s.StartGateway(t.Context(), scene.Admitted{Subject: admittedSubject, URI: admittedURI})
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			explain(t, s, scene.GatewayNamespace)
		}
		must(t, s.DeleteNamespace(context.Background(), scene.GatewayNamespace))
	})
	ns := namespace(t, s)
	control := deployed(t, s, scene.App{Namespace: ns, Name: "control"})
	t.Run("a Pod that asks for nothing is seen to call in clear", func(t *testing.T) { callInClear(t, s, g, control) })
	before, err := g.PlainConnections(t.Context())
	must(t, err)

	admitted := identityClient(t, g, admittedSubject)
	// With TLS 1.3 a server refuses the client's certificate after the handshake is over for the
	// client, whose sidecar sees a connection that ends, and no reason.
	refused := regexp.MustCompile(`" 503 UC `)
	calls := map[string]gatewayCall{
		"the admitted subject": {
			host: scene.IdentityHost, client: admitted, want: "200", identity: http.Header{
				"X-Client-Ssl-Cn":         {admittedSubject},
				"X-Client-Ssl-Issuer":     {issuerSubject},
				"X-Client-Ssl-San":        {admittedURI},
				"X-Forwarded-Client-Cert": {forwarded(admitted, admittedSubject)},
			},
		},
		"another subject of the same issuer": {
			host:   scene.IdentityHost,
			client: identityClient(t, g, otherSubject),
			want:   "403",
			says:   "RBAC: access denied",
		},
		"a name that the server's certificate doesn't cover": {
			host:   scene.UncoveredHost,
			client: identityClient(t, g, admittedSubject),
			want:   "503",
			says:   "remote connection failure",
			logs: regexp.MustCompile(
				`" 503 [A-Z,]*UF[ ,].*CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_SAN_matcher,` +
					`_certificate_SANs_are_\[\*\.mtls\.example\.net\]`,
			),
		},
		"the client's name is among those that may call": {
			host:   scene.NamesHost,
			client: namesClient(t, s, scene.NamesClient),
			want:   "200",
		},
		"a certificate with another name": {
			host:   scene.NamesHost,
			client: namesClient(t, s, "other.example.com"),
			want:   "503",
			says:   "connection termination",
			logs:   refused,
		},
		"a certificate with no name, whatever its subject": {
			host:   scene.NamesHost,
			client: s.ClientCA.Issue(t, pki.Client(scene.NamesClient)),
			want:   "503",
			says:   "connection termination",
			logs:   refused,
		},
		"any certificate of the CA": {host: scene.SignedHost, client: namesClient(t, s), want: "200"},
	}
	t.Run("Pods", func(t *testing.T) {
		for sentence, call := range calls {
			t.Run(sentence, func(t *testing.T) {
				t.Parallel()
				call.make(t, s, g, ns)
			})
		}
	})
	t.Run("an app that does TLS itself", func(t *testing.T) { callWithTLS(t, s, control) })

	after, err := g.PlainConnections(t.Context())
	must(t, err)
	row := figures{
		Promise: "Partner behind an Istio gateway",
		Fault:   "subjects, names and certificates that one of the two refuses",
	}
	for _, call := range calls {
		row.Requests += gatewayCalls
		if call.want == "503" {
			row.Failed += gatewayCalls
		}
	}
	neverPlain(t, partner.Summary{PlainConnections: after - before}, row)
}

// deployed is a ready Pod of the app, which can be told to call.
func deployed(t *testing.T, s *scene.Scene, app scene.App) *corev1.Pod {
	t.Helper()
	must(t, s.Deploy(t.Context(), app))
	pod, err := s.ReadyPod(t.Context(), app.Namespace, app.Name)
	must(t, err)
	// The container has no probe: it is ready when its process has started, and may not listen yet.
	must(t, scene.Until(t.Context(), "the caller", func(ctx context.Context) error {
		_, err := s.Caller(pod).Loops(ctx)
		return err
	}))
	return pod
}

// gatewayCalls is how often each Pod calls.
const gatewayCalls = 3

// gatewayCall is what a Pod with a client certificate gets from a partner behind the gateway.
type gatewayCall struct {
	host   string
	client pki.Pair
	// want is what every call must come to, says what the answer must contain.
	want caller.Outcome
	says string
	// logs is what the sidecar must log of a call that fails.
	logs *regexp.Regexp
	// identity are the headers that the backend must have seen.
	identity http.Header
}

func (c gatewayCall) make(t *testing.T, s *scene.Scene, g *scene.Gateway, ns string) {
	name := "app-" + c.client.Certificate.SerialNumber.Text(16)[:8]
	must(t, s.WriteSecret(t.Context(), ns, name,
		scene.Credential{Pair: c.client, ServerCA: s.ServerCA.CertPEM}.Data(scene.LayoutTLS)))
	pod := deployed(t, s, scene.App{
		Namespace:   ns,
		Name:        name,
		Annotations: map[string]string{egress.AnnotationTarget: c.host, egress.AnnotationSecret: name},
	})
	_, _, err := s.Kubectl(t.Context(), "--namespace", ns, "wait", "--for=condition=Ready",
		"egresstarget/"+c.host, "--timeout=60s")
	must(t, err)
	path := "/gateway/" + name
	plain := "http://" + c.host + path
	// The sidecar may learn of the target a moment after the API server did.
	must(t, scene.Until(t.Context(), "the sidecar knows the way", func(ctx context.Context) error {
		_, err := expect(ctx, s.Caller(pod), caller.Call{URL: plain + "/first"}, c.want)
		return err
	}))
	results, err := expect(t.Context(), s.Caller(pod), caller.Call{URL: plain, Count: gatewayCalls}, c.want)
	must(t, err)
	for _, result := range results {
		if !strings.Contains(result.Body, c.says) {
			t.Errorf("the app got %q, which doesn't say %q", result.Body, c.says)
		}
	}
	if c.logs != nil {
		must(t, scene.Until(t.Context(), "the sidecar's log",
			func(ctx context.Context) error { return c.logged(ctx, s, pod, path) }))
	}
	saw, err := g.Backend().Connections(t.Context(), partner.Filter{Path: path})
	must(t, err)
	c.atTheBackend(t, saw, path)
}

// logged reports whether the sidecar has logged each call as it must.
func (c gatewayCall) logged(ctx context.Context, s *scene.Scene, pod *corev1.Pod, path string) error {
	log, _, err := s.Kubectl(ctx, "--namespace", pod.Namespace, "logs", pod.Name, "--container", "istio-proxy")
	if err != nil {
		return err
	}
	var found int
	for line := range strings.SplitSeq(log, "\n") {
		if !strings.Contains(line, path+" HTTP") {
			continue
		}
		if found++; !c.logs.MatchString(line) {
			return fmt.Errorf("it has %q, which %s doesn't match", line, c.logs)
		}
	}
	if found != gatewayCalls {
		return fmt.Errorf("it has %d of %d calls", found, gatewayCalls)
	}
	return nil
}

// atTheBackend checks what came through the gateway.
func (c gatewayCall) atTheBackend(t *testing.T, saw []partner.Connection, path string) {
	t.Helper()
	var requests int
	for _, connection := range saw {
		for _, request := range connection.FirstRequests {
			if request.Path != path {
				continue
			}
			requests++
			got := http.Header{}
			for name := range c.identity {
				got[name] = request.Headers[name]
			}
			if diff := cmp.Diff(c.identity, got); len(c.identity) > 0 && diff != "" {
				t.Errorf("the backend was told otherwise who calls (-want +got):\n%s", diff)
			}
			if proto := request.Headers.Get("X-Forwarded-Proto"); proto != "https" {
				t.Errorf("the gateway got the request by %q", proto)
			}
		}
	}
	want := 0
	if c.want.Success() {
		want = gatewayCalls
	}
	if requests != want {
		t.Errorf("the backend got %d requests, want %d", requests, want)
	}
}

// forwarded is the header x-forwarded-client-cert as the gateway writes it for a certificate with a
// URI among its names and nothing else.
func forwarded(client pki.Pair, subject string) string {
	hash := sha256.Sum256(client.Certificate.Raw)
	pem := strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D").Replace(string(client.CertPEM))
	return "Hash=" + hex.EncodeToString(hash[:]) + `;Cert="` + pem + `";Subject="` + subject + `";URI=` + admittedURI
}

// expect makes calls, all of which must come to the outcome.
func expect(ctx context.Context, app *caller.Client, call caller.Call, want caller.Outcome) ([]caller.Result, error) {
	results, err := app.Call(ctx, call)
	if err != nil {
		return nil, err
	}
	for _, result := range results {
		if result.Outcome != want {
			return results, fmt.Errorf("%s: the app got %s (%s%s), want %s",
				call.URL, result.Outcome, result.Error, result.Body, want)
		}
	}
	return results, nil
}

// callInClear shows that the gateway's count of plain connections counts, and that a neighbor keeps
// what it had. Both calls can share a connection, because the sidecar keeps it open.
func callInClear(t *testing.T, s *scene.Scene, g *scene.Gateway, pod *corev1.Pod) {
	before, err := g.PlainConnections(t.Context())
	must(t, err)
	for address, want := range map[string]caller.Outcome{
		"http://" + scene.SignedHost + "/gateway/control": "301", // to https
		// No certificate, no subject.
		"http://" + scene.IdentityHost + "/gateway/control": "403",
	} {
		_, err = expect(t.Context(), s.Caller(pod), caller.Call{URL: address}, want)
		must(t, err)
	}
	after, err := g.PlainConnections(t.Context())
	must(t, err)
	if after <= before {
		t.Errorf("the gateway counts %d plain connections after %d: it doesn't see them", after, before)
	}
}

// callWithTLS is the same without us: an app that has the partner's CA, or a client certificate, or
// both, or neither.
func callWithTLS(t *testing.T, s *scene.Scene, pod *corev1.Pod) {
	client := namesClient(t, s)
	const address = "https://" + scene.SignedHost + "/gateway/itself"
	ca, certificate, key := string(s.ServerCA.CertPEM), string(client.CertPEM), string(client.KeyPEM)
	for sentence, test := range map[string]struct {
		call caller.Call
		says string
	}{
		"the CA and no certificate: the server refuses": {caller.Call{URL: address, CAPEM: ca}, "certificate required"},
		"neither: the app doesn't trust the server":     {caller.Call{URL: address}, "signed by unknown authority"},
		"a certificate and no CA: the same": {
			caller.Call{URL: address, ClientCertPEM: certificate, ClientKeyPEM: key}, "signed by unknown authority",
		},
	} {
		t.Run(sentence, func(t *testing.T) { refusedByAlert(t, s, pod, test.call, test.says) })
	}
	t.Run("both", func(t *testing.T) {
		_, err := expect(t.Context(), s.Caller(pod),
			caller.Call{URL: address, CAPEM: ca, ClientCertPEM: certificate, ClientKeyPEM: key}, "200")
		must(t, err)
	})
}
