package credential_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/test/pki"
)

func issuerOf(ca *pki.CA) credential.Issuer {
	details := detailsOf(ca.Pair, credential.Details{})
	return credential.Issuer{
		Subject:  credential.DistinguishedName(ca.Certificate.RawSubject),
		NotAfter: details.NotAfter,
		SHA256:   details.SHA256,
		PEM:      string(ca.CertPEM),
	}
}

func TestDescribeTellsWhatThePartnerNeeds(t *testing.T) {
	root := pki.SelfSigned(t, authority("Root", 1))
	issuing := &pki.CA{Pair: root.Issue(t, authority("Müller", 2))}
	server := pki.SelfSigned(t, authority("Server CA", 3))
	template := numbered(0x10)
	template.URIs = []*url.URL{{Scheme: "urn", Opaque: "example:orders"}}
	template.EmailAddresses = []string{"team@example.com"}
	client := issuing.Issue(t, template)
	ownTemplate := pki.Client("own")
	ownTemplate.SerialNumber, ownTemplate.DNSNames = template.SerialNumber, template.DNSNames
	own := pki.SelfSigned(t, ownTemplate)
	chain := slices.Concat(client.CertPEM, issuing.CertPEM)
	file := must[[]byte](t)(
		pkcs12.Modern2023.Encode(client.Key, client.Certificate,
			[]*x509.Certificate{root.Certificate, issuing.Certificate}, "x"),
	)
	secretOf := func(certificates, serverCA []byte) func() (*credential.Material, error) {
		return func() (*credential.Material, error) {
			return credential.MaterialOfSecret(
				&corev1.Secret{
					Data: map[string][]byte{"tls.crt": certificates, "tls.key": client.KeyPEM, "ca.crt": serverCA},
				},
			)
		}
	}
	alone := credential.Finding{
		Severity: credential.Warning,
		Reason:   credential.ChainIncomplete,
		Message: `the certificate is alone, without its issuer "CN=Müller": partners that trust only a root above ` +
			`that issuer reject it; if the issuer is an intermediate, append its certificate`,
	}
	unrelated := credential.Finding{
		Severity: credential.Warning, Reason: credential.CertificateUnrelated,
		Message: `a certificate doesn't belong to the chain and is omitted (subject "CN=Server CA", serial 03)`,
	}
	both, upToIssuing := []credential.Issuer{issuerOf(issuing), issuerOf(root)}, []credential.Issuer{issuerOf(issuing)}

	tests := map[string]struct {
		found     func() (*credential.Material, error)
		given     []*x509.Certificate
		issuers   []credential.Issuer
		rootKnown bool
		findings  []credential.Finding
	}{
		"a PKCS#12 file with all of the chain": {
			found:     func() (*credential.Material, error) { return credential.MaterialOfPKCS12(file, "x") },
			issuers:   both,
			rootKnown: true,
		},
		"a PEM file without the key, the root before the intermediate": {
			found: func() (*credential.Material, error) {
				return credential.MaterialOfCertificates("f.pem",
					slices.Concat(client.CertPEM, root.CertPEM, issuing.CertPEM))
			}, issuers: both, rootKnown: true,
		},
		"a Secret without the root": {found: secretOf(chain, server.CertPEM), issuers: upToIssuing},
		"the CA of the server is the client's root, and isn't taken for an issuer": {
			found:   secretOf(chain, root.CertPEM),
			issuers: upToIssuing,
		},
		"the CA of the server is the issuer, and isn't taken for one": {
			found:    secretOf(client.CertPEM, issuing.CertPEM),
			findings: []credential.Finding{alone},
		},
		"the CA of the server can't be read": {
			found:   secretOf(chain, []byte("x")),
			issuers: upToIssuing,
		},
		"the CA of the server is missing": {
			found:   secretOf(chain, nil),
			issuers: upToIssuing,
		},
		"the leaf alone": {
			found:    secretOf(client.CertPEM, server.CertPEM),
			findings: []credential.Finding{alone},
		},
		"the leaf alone, and all issuers given": {
			found:     secretOf(client.CertPEM, server.CertPEM),
			given:     []*x509.Certificate{root.Certificate, issuing.Certificate},
			issuers:   both,
			rootKnown: true,
		},
		"the root given": {
			found:     secretOf(chain, server.CertPEM),
			given:     []*x509.Certificate{root.Certificate},
			issuers:   both,
			rootKnown: true,
		},
		"an issuer given that is known already": {
			found:   secretOf(chain, server.CertPEM),
			given:   []*x509.Certificate{issuing.Certificate},
			issuers: upToIssuing,
		},
		"a stranger among those given": {
			found:     secretOf(chain, server.CertPEM),
			given:     []*x509.Certificate{server.Certificate, root.Certificate},
			issuers:   both,
			rootKnown: true,
			findings:  []credential.Finding{unrelated},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := must[*credential.Material](t)(test.found()).Describe(test.given, now())
			if err != nil {
				t.Fatal(err)
			}
			details := detailsOf(client, credential.Details{})
			want := &credential.Description{
				Subject:         "CN=orders",
				EnvoySubject:    "CN=orders",
				DNSNames:        []string{"orders.example.com"},
				URIs:            []string{"urn:example:orders"},
				Emails:          []string{"team@example.com"},
				Issuer:          "CN=Müller",
				SerialNumber:    "10",
				NotBefore:       details.NotBefore,
				NotAfter:        details.NotAfter,
				KeyType:         "ecdsa-p256",
				SHA256:          details.SHA256,
				PublicKeySHA256: got.PublicKeySHA256,
				Issuers:         test.issuers,
				RootKnown:       test.rootKnown,
				Findings:        test.findings,
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(),
				cmpopts.IgnoreUnexported(credential.Description{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("a certificate that signed itself is what the partner trusts", func(t *testing.T) {
		got, err := must[*credential.Material](t)(
			credential.MaterialOfCertificates("f.pem", own.CertPEM),
		).Describe(nil, now())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]credential.Issuer{issuerOf(own)}, got.Issuers); diff != "" || !got.RootKnown ||
			len(got.Findings) > 0 {
			t.Errorf("root known: %t, findings %v, issuers (-want +got):\n%s", got.RootKnown, got.Findings, diff)
		}
	})
}

func TestDescribeRefusesWhatNoPartnerShouldAdmit(t *testing.T) {
	root := pki.SelfSigned(t, authority("Root", 1))
	issuing := &pki.CA{Pair: root.Issue(t, authority("Issuing", 2))}
	stranger := pki.SelfSigned(t, authority("Stranger", 9))
	client, other := issuing.Issue(t, orders()), issuing.Issue(t, orders())
	expired, server := orders(), orders()
	expired.NotAfter = now().AddDate(0, 0, -3)
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	pem := func(parts ...[]byte) func() (*credential.Material, error) {
		return func() (*credential.Material, error) {
			return credential.MaterialOfCertificates("f.pem", slices.Concat(parts...))
		}
	}
	tests := map[string]struct {
		found func() (*credential.Material, error)
		given []*x509.Certificate
		want  string
	}{
		"another key": {
			found: pem(other.KeyPEM, client.CertPEM),
			want: `"f.pem" (private key) does not match the certificate in "f.pem" ` + ordersID +
				`: store the private key that this certificate was requested with`,
		},
		"expired": {
			found: pem(issuing.Issue(t, expired).CertPEM),
			want: `"f.pem" (client certificate) expired on 2026-06-28T12:00:00Z ` + ordersID +
				`: request a new one from its issuer`,
		},
		"a server's": {
			found: pem(issuing.Issue(t, server).CertPEM),
			want: `"f.pem" (client certificate) can't be used as a TLS client ` + ordersID +
				`: its extended key usage is serverAuth; it must be clientAuth`,
		},
		"a Secret with nothing to read": {
			found: func() (*credential.Material, error) {
				return credential.MaterialOfSecret(
					&corev1.Secret{Data: map[string][]byte{"cert": []byte("x"), "key": []byte("x")}})
			},
			want: `"cert" (client certificate) is not PEM: it has no BEGIN line; "key" (private key) is not ` +
				`PEM: it has no BEGIN line`,
		},
		"issuers of somebody else": {
			found: pem(client.CertPEM, issuing.CertPEM),
			given: []*x509.Certificate{stranger.Certificate},
			want: `none of the given issuers (subject "CN=Stranger", serial 09) has issued the client certificate ` +
				`or an issuer of it: take the certificate of "CN=Root"`,
		},
		"issuers of somebody else, and none is missing": {
			found: pem(client.CertPEM, issuing.CertPEM, root.CertPEM),
			given: []*x509.Certificate{stranger.Certificate},
			want: `none of the given issuers (subject "CN=Stranger", serial 09) has issued the client certificate ` +
				`or an issuer of it: none is needed, as all of them are known up to the root`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := must[*credential.Material](t)(test.found()).Describe(test.given, now())
			if err == nil {
				t.Fatal("it was described")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestThePinIsWhatOpenSSLMakes follows the recipe for partners:
// https://www.rfc-editor.org/rfc/rfc7469#appendix-A.
func TestThePinIsWhatOpenSSLMakes(t *testing.T) {
	client := pki.NewCA(t, "Partner CA").Issue(t, orders())
	description, err := must[*credential.Material](t)(
		credential.MaterialOfCertificates("f.pem", client.CertPEM),
	).Describe(nil, now())
	if err != nil {
		t.Fatal(err)
	}
	public, ok := openssl(t, "x509", "-pubkey", "-noout", "-in", write(t, "client.pem", client.CertPEM))
	if !ok {
		t.Fatal(public)
	}
	der := write(t, "key.der", nil)
	if output, ok := openssl(t, "pkey", "-pubin", "-outform", "DER", "-in", write(t, "key.pem", []byte(public)), "-out",
		der); !ok {
		t.Fatal(output)
	}
	digest, ok := openssl(t, "dgst", "-sha256", "-binary", der)
	if !ok {
		t.Fatal(digest)
	}
	if diff := cmp.Diff(base64.StdEncoding.EncodeToString([]byte(digest)), description.PublicKeySHA256); diff != "" {
		t.Errorf("(-openssl +ours):\n%s", diff)
	}
}

// names returns the subject alternative name extension with names by their tags in RFC 5280,
// unchanged.
func names(t *testing.T, names ...asn1.RawValue) pkix.Extension {
	t.Helper()
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: must[[]byte](t)(asn1.Marshal(names))}
}

func name(tag int, text string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(text)}
}

// TestManifestsAdmitTheSubjectAlone uses values that Envoy 1.40 writes into
// x-forwarded-client-cert. test/mesh shows that a gateway admits these certificates and rejects
// others.
func TestManifestsAdmitTheSubjectAlone(t *testing.T) {
	const email, dns, uri = 1, 2, 6
	ca := pki.SelfSigned(t, authority("Root", 1))
	gateway := credential.IstioGateway{
		Host:           "api.partner.example",
		Namespace:      "edge",
		Selector:       map[string]string{"istio": "edge"},
		CredentialName: "api",
	}
	subject := func(text string) []byte { return must[[]byte](t)(credential.ParseSubject(text)) }
	tests := map[string]struct {
		subject string
		names   []asn1.RawValue
		san     []string
		header  string
	}{
		"no names": {subject: "CN=orders,C=DE", header: `*;Subject="CN=orders,C=DE";URI=`},
		"names of other kinds don't count": {
			subject: "CN=orders",
			names:   []asn1.RawValue{name(email, "team@example.com")},
			header:  `*;Subject="CN=orders";URI=`,
		},
		"a DNS name": {
			subject: "CN=orders",
			names:   []asn1.RawValue{name(dns, "b.example.com")},
			san:     []string{"b.example.com"},
			header:  `*;Subject="CN=orders";URI=;DNS=b.example.com`,
		},
		"several of each, in the order of the certificate": {
			subject: "CN=a*b,O=Ex\\, \\\"q\\\",C=DE",
			names: []asn1.RawValue{
				name(dns, "b.example.com"),
				name(uri, "urn:one"),
				name(dns, "a.example.com"),
				name(uri, "urn:two"),
			},
			san:    []string{"b.example.com", "a.example.com", "urn:one", "urn:two"},
			header: `*;Subject="CN=a*b,O=Ex\, \"q\",C=DE";URI=urn:one;URI=urn:two;DNS=b.example.com;DNS=a.example.com`,
		},
		"a URI that Go would write otherwise": {
			subject: "CN=Müller",
			names:   []asn1.RawValue{name(uri, "HTTPS://Example.com/%7ea")},
			san:     []string{"HTTPS://Example.com/%7ea"},
			header:  `*;Subject="CN=M\C3\BCller";URI=HTTPS://Example.com/%7ea`,
		},
	}
	for sentence, test := range tests {
		t.Run(sentence, func(t *testing.T) {
			template := pki.Client("")
			template.RawSubject = subject(test.subject)
			if test.names != nil {
				template.ExtraExtensions = []pkix.Extension{names(t, test.names...)}
			}
			found := must[*credential.Material](t)(
				credential.MaterialOfCertificates("f.pem", slices.Concat(ca.Issue(t, template).CertPEM, ca.CertPEM)),
			)
			description, err := found.Describe(nil, now())
			if err != nil {
				t.Fatal(err)
			}
			var got []map[string]any
			for _, manifest := range must[[]credential.Manifest](t)(description.Manifests(gateway)) {
				if manifest.About == "" || strings.ContainsAny(manifest.About, "\n\r") {
					t.Errorf("not one line: %q", manifest.About)
				}
				got = append(got, manifest.Object)
			}
			tls := map[string]any{"mode": "MUTUAL", "credentialName": "api"}
			if test.san != nil {
				tls["subjectAltNames"] = test.san
			}
			want := []map[string]any{
				{
					"apiVersion": "v1",
					"kind":       "Secret",
					"metadata":   map[string]any{"name": "api-cacert", "namespace": "edge"},
					"type":       "Opaque",
					"data":       map[string]any{"cacert": base64.StdEncoding.EncodeToString(ca.CertPEM)},
				},
				{
					"apiVersion": "networking.istio.io/v1",
					"kind":       "Gateway",
					"metadata":   map[string]any{"name": "api", "namespace": "edge"},
					"spec": map[string]any{
						"selector": map[string]string{"istio": "edge"},
						"servers": []any{
							map[string]any{
								"port": map[string]any{
									"number":   443,
									"name":     "https",
									"protocol": "HTTPS",
								},
								"tls":   tls,
								"hosts": []string{"api.partner.example"},
							},
						},
					},
				},
				{
					"apiVersion": "security.istio.io/v1",
					"kind":       "AuthorizationPolicy",
					"metadata":   map[string]any{"name": "api", "namespace": "edge"},
					"spec": map[string]any{
						"selector": map[string]any{"matchLabels": map[string]string{"istio": "edge"}},
						"action":   "ALLOW",
						"rules": []any{
							map[string]any{
								"to": []any{
									map[string]any{
										"operation": map[string]any{
											"hosts": []string{"api.partner.example", "api.partner.example:*"},
										},
									},
								},
								"when": []any{
									map[string]any{
										"key":    "request.headers[X-Forwarded-Client-Cert]",
										"values": []string{test.header},
									},
								},
							},
						},
					},
				},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestThereAreNoManifestsForWhatTheHeaderCannotTellApart(t *testing.T) {
	const email, dns, uri = 1, 2, 6
	ca := pki.SelfSigned(t, authority("Root", 1))
	const nobody = "the certificate has no subject, no DNS name and no URI, so X-Forwarded-Client-Cert doesn't " +
		"distinguish it from other certificates of its CA: request one with a name"
	unquoted := func(quoted string) string {
		return quoted + ` has a semicolon or a quotation mark, which X-Forwarded-Client-Cert doesn't escape, so the ` +
			`gateway can't find its end: request a certificate without it`
	}
	tests := map[string]struct {
		subject string
		names   []asn1.RawValue
		want    string
	}{
		"nothing at all": {want: nobody},
		"an e-mail address alone": {
			names: []asn1.RawValue{name(email, "team@example.com")},
			want:  nobody,
		},
		"an empty URI":     {names: []asn1.RawValue{name(uri, "")}, want: nobody},
		"a DNS name alone": {names: []asn1.RawValue{name(dns, "orders.example.com")}},
		"a URI alone":      {names: []asn1.RawValue{name(uri, "urn:orders")}},
		"a subject alone":  {subject: "CN=orders"},
		"the end of another one's header": {
			subject: "CN=a",
			names:   []asn1.RawValue{name(uri, `x:;Subject="CN=orders";URI=`)},
			want:    unquoted(`the URI "x:;Subject=\"CN=orders\";URI="`),
		},
		"a quotation mark in a DNS name": {
			subject: "CN=a",
			names:   []asn1.RawValue{name(dns, `a"b`)},
			want:    unquoted(`the DNS name "a\"b"`),
		},
		"an e-mail address isn't in the header": {
			subject: "CN=a",
			names:   []asn1.RawValue{name(email, "a;b@example.com")},
		},
		"all that is wrong": {
			names: []asn1.RawValue{
				name(uri, "x:;"),
				name(dns, "a;b"),
			},
			want: unquoted(`the DNS name "a;b"`) + "\n" + unquoted(`the URI "x:;"`),
		},
	}
	for sentence, test := range tests {
		t.Run(sentence, func(t *testing.T) {
			template := pki.Client("")
			if test.subject != "" {
				template.RawSubject = must[[]byte](t)(credential.ParseSubject(test.subject))
			}
			if test.names != nil {
				template.ExtraExtensions = []pkix.Extension{names(t, test.names...)}
			}
			found := must[*credential.Material](t)(
				credential.MaterialOfCertificates("f.pem", slices.Concat(ca.Issue(t, template).CertPEM, ca.CertPEM)),
			)
			description, err := found.Describe(nil, now())
			if err != nil {
				t.Fatal(err)
			}
			manifests, err := description.Manifests(credential.IstioGateway{Host: "api.partner.example"})
			got := ""
			if err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(test.want, got); diff != "" || (manifests == nil) != (err != nil) {
				t.Errorf("%d manifests, error (-want +got):\n%s", len(manifests), diff)
			}
		})
	}
}

func TestThereAreNoManifestsWithoutAnIssuer(t *testing.T) {
	client := pki.NewCA(t, "Partner CA").Issue(t, orders())
	description, err := must[*credential.Material](t)(
		credential.MaterialOfCertificates("f.pem", client.CertPEM),
	).Describe(nil, now())
	if err != nil {
		t.Fatal(err)
	}
	manifests, err := description.Manifests(credential.IstioGateway{Host: "api.partner.example"})
	if want := `the certificate is alone, without its issuer "CN=Partner CA", which the gateway must trust`; err == nil ||
		err.Error() != want ||
		manifests != nil {
		t.Errorf("manifests %v, error %v, want %q", manifests, err, want)
	}
}
