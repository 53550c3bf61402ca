package credential

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Description is what a partner has to know of a client credential to admit it. It holds no secret,
// and nothing of the server.
type Description struct {
	// Subject as RFC 4514 writes it, EnvoySubject as [EnvoySubject] does.
	Subject      string `json:"subject"`
	EnvoySubject string `json:"envoySubject"`
	// Subject alternative names.
	DNSNames    []string `json:"dnsNames,omitempty"`
	URIs        []string `json:"uris,omitempty"`
	Emails      []string `json:"emails,omitempty"`
	IPAddresses []string `json:"ipAddresses,omitempty"`
	// Issuer is the name of who signed the certificate, as RFC 4514 writes it.
	Issuer string `json:"issuer"`
	// SerialNumber in lower-case hexadecimal, two digits a byte, no separators.
	SerialNumber string `json:"serialNumber"`
	// NotBefore and NotAfter bound the validity, both included, in UTC.
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	// KeyType is the type of the public key, for example rsa-3072.
	KeyType string `json:"keyType"`
	// SHA256 is the fingerprint of the certificate in lower-case hexadecimal.
	SHA256 string `json:"sha256"`
	// PublicKeySHA256 is the hash of the SubjectPublicKeyInfo in base64, which stays when a
	// certificate is renewed for the same key (https://www.rfc-editor.org/rfc/rfc7469#section-2.4).
	PublicKeySHA256 string `json:"publicKeySHA256"`
	// Issuers are those of the client certificate as far as they are known, each followed by its own.
	// A certificate that signed itself is its own.
	Issuers []Issuer `json:"issuers"`
	// RootKnown reports whether the last of Issuers is a root.
	RootKnown bool `json:"rootKnown"`
	// Findings are warnings only.
	Findings []Finding `json:"findings"`

	leaf    *x509.Certificate
	issuers []*x509.Certificate
}

// Issuer is a certificate that signed another one.
type Issuer struct {
	// Subject as RFC 4514 writes it.
	Subject string `json:"subject"`
	// NotAfter is the end of the validity, in UTC.
	NotAfter time.Time `json:"notAfter"`
	// SHA256 is the fingerprint in lower-case hexadecimal.
	SHA256 string `json:"sha256"`
	// PEM is the certificate as one block.
	PEM string `json:"pem"`
}

// ReadIssuers reads certificates of the issuers of a client certificate from a file, PEM or DER,
// whose name stands in the error.
func ReadIssuers(name string, content []byte) ([]*x509.Certificate, error) {
	return readCertificateFile(part{issuerPart, name}, content)
}

// Describe says what a partner has to know. issuers are certificates that aren't in the material
// and lead from its own to the root; the CA of the server is never taken for one. What [Check]
// refuses for another reason than that CA is refused here, with a [*RefusedError]. An error also
// says that none of issuers has issued anything here.
func (m *Material) Describe(issuers []*x509.Certificate, now time.Time) (*Description, error) {
	layout := m.layout
	layout.ServerCA = ""
	if err := m.check(layout, now); err != nil {
		return nil, err
	}
	known := slices.Concat(m.chain.withRoot()[1:], m.chain.Unrelated)
	leaf := m.chain.Certificates[0]
	if problem := checkChain(slices.Concat([]*x509.Certificate{leaf}, known, issuers)); problem != "" {
		return nil, errors.New("with the given issuers there are " + problem)
	}
	chain := follow(leaf, slices.Concat(known, issuers))
	if len(issuers) > 0 && !slices.ContainsFunc(issuers, chain.leadsThrough) {
		return nil, foreignIssuers(follow(leaf, known), issuers)
	}
	d := describeForPartner(leaf)
	d.Findings = append([]Finding{}, Review(chain, nil, now)...)
	d.issuers, d.RootKnown = chain.issuers()
	for _, issuer := range d.issuers {
		facts := describe([]*x509.Certificate{issuer})
		d.Issuers = append(d.Issuers, Issuer{facts.Subject, facts.NotAfter, facts.SHA256, string(encodeCertificates([]*x509.Certificate{issuer}))})
	}
	return d, nil
}

func describeForPartner(leaf *x509.Certificate) *Description {
	facts := describe([]*x509.Certificate{leaf})
	pin := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return &Description{
		Subject: facts.Subject, EnvoySubject: EnvoySubject(leaf.RawSubject),
		DNSNames: facts.DNSNames, URIs: facts.URIs, Emails: facts.Emails, IPAddresses: facts.IPAddresses,
		Issuer: facts.Issuer, SerialNumber: facts.SerialNumber, NotBefore: facts.NotBefore, NotAfter: facts.NotAfter,
		KeyType: facts.KeyType, SHA256: facts.SHA256, PublicKeySHA256: base64.StdEncoding.EncodeToString(pin[:]),
		Issuers: []Issuer{}, leaf: leaf,
	}
}

func foreignIssuers(chain Chain, issuers []*x509.Certificate) error {
	var given []string
	for _, certificate := range issuers {
		given = append(given, identify(certificate))
	}
	right := "take the certificate of " + issuerName(chain.Certificates[len(chain.Certificates)-1])
	if _, complete := chain.issuers(); complete {
		right = "none is needed, as all of them are known up to the root"
	}
	return fmt.Errorf("none of the given issuers (%s) has issued the client certificate or an issuer of it: %s", strings.Join(given, "; "), right)
}

// leadsThrough reports whether the certificate is one of those that lead from the leaf to the root.
func (c Chain) leadsThrough(certificate *x509.Certificate) bool {
	return slices.ContainsFunc(c.Certificates[1:], certificate.Equal) || c.Root != nil && certificate.Equal(c.Root)
}

// issuers are the certificates that lead from the leaf to the root, and whether the root is among
// them.
func (c Chain) issuers() (issuers []*x509.Certificate, rootKnown bool) {
	switch {
	case c.Root != nil:
		return append(slices.Clone(c.Certificates[1:]), c.Root), true
	case selfSigned(c.Certificates[0]):
		return c.Certificates[:1], true
	}
	return c.Certificates[1:], false
}

// IstioGateway is where a partner on Istio admits clients.
type IstioGateway struct {
	// Host is the name that clients call.
	Host string
	// Namespace is that of the gateway's Pods.
	Namespace string
	// Selector are labels of the gateway's Pods.
	Selector map[string]string
	// CredentialName is the name of the Secret with the certificate of the server, which is the
	// partner's own. The generated objects are named after it.
	CredentialName string
}

// caSuffix is what Istio looks for besides the Secret with the certificate of the server:
// https://istio.io/latest/docs/reference/config/networking/gateway/#ServerTLSSettings-credential_name.
const caSuffix = "-cacert"

// CASecretName is the name of the Secret with the CAs that the gateway trusts for CredentialName.
func (g IstioGateway) CASecretName() string { return g.CredentialName + caSuffix }

// Manifest is an object to apply, and what to know before.
type Manifest struct {
	// About has no line breaks.
	About  string         `json:"about"`
	Object map[string]any `json:"object"`
}

// Manifests are the objects that make a gateway admit the credential, and no other client, to the
// host. The error says, a line each, that X-Forwarded-Client-Cert doesn't tell the certificate from
// others of its CA, and, last, that no issuer is known, so that there is nothing for the gateway to
// trust.
func (d *Description) Manifests(gateway IstioGateway) ([]Manifest, error) {
	problems := d.indistinct()
	if len(d.issuers) == 0 {
		problems = append(problems, errors.New("the certificate stands alone, without its issuer "+issuerName(d.leaf)+", which the gateway must trust"))
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return []Manifest{d.caSecret(gateway), d.gateway(gateway), d.policy(gateway)}, nil
}

// indistinct is why a policy that compares X-Forwarded-Client-Cert would admit others too.
func (d *Description) indistinct() []error {
	var problems []error
	named := d.EnvoySubject != ""
	for _, kind := range []struct {
		name string
		tag  int
	}{{"DNS name", dnsName}, {"URI", uriName}} {
		for _, name := range generalNames(d.leaf, kind.tag) {
			named = named || name != ""
			if strings.ContainsAny(name, forwardedSyntax) {
				problems = append(problems, fmt.Errorf("the %s %s has a semicolon or a quotation mark, which X-Forwarded-Client-Cert doesn't escape, "+
					"so that the gateway can't tell where it ends: have a certificate signed without", kind.name, quoted(name)))
			}
		}
	}
	if !named {
		problems = append(problems, errors.New("the certificate has no subject, and neither a DNS name nor a URI, so that nothing in X-Forwarded-Client-Cert tells it from others of its CA: "+
			"have one signed that has a name"))
	}
	return problems
}

// forwardedSyntax are the characters that end a name in X-Forwarded-Client-Cert. Envoy escapes them
// in the subject only, and writes URIs and DNS names as they are:
// https://github.com/envoyproxy/envoy/blob/main/source/common/http/conn_manager_utility.cc
const forwardedSyntax = `;"`

func (d *Description) caSecret(gateway IstioGateway) Manifest {
	about := fmt.Sprintf("The CA that the gateway must trust: the issuers of the client certificate. They belong to the certificate of your server, the Secret %s in the same namespace, "+
		"which is yours to make. If there is a Secret %s already, with the CAs of other clients, put these certificates behind those instead.", gateway.CredentialName, gateway.CASecretName())
	if !d.RootKnown {
		about += " The root is not known; Istio's gateway needs none above these."
	}
	return Manifest{about, map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": metadata(gateway.Namespace, gateway.CASecretName()), "type": "Opaque",
		"data": map[string]any{"cacert": base64.StdEncoding.EncodeToString(encodeCertificates(d.issuers))},
	}}
}

func (d *Description) gateway(gateway IstioGateway) Manifest {
	tls := map[string]any{"mode": "MUTUAL", "credentialName": gateway.CredentialName}
	about := fmt.Sprintf("Asks for client certificates at %s. The VirtualService that leads the host to your service is yours to make; it names this one under gateways, as %s/%s.",
		gateway.Host, gateway.Namespace, gateway.CredentialName)
	if names := slices.Concat(generalNames(d.leaf, dnsName), generalNames(d.leaf, uriName)); len(names) > 0 {
		tls["subjectAltNames"] = names
		about += " The handshake ends for certificates that have none of subjectAltNames: add those of other clients."
	} else {
		about += " The client certificate has neither a DNS name nor a URI, so that every certificate of the CA passes the handshake; the policy below tells them apart. " +
			"Safer is a client certificate that has one, as the gateway itself then ends the handshake for others."
	}
	return Manifest{about, map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": metadata(gateway.Namespace, gateway.CredentialName),
		"spec": map[string]any{
			"selector": gateway.Selector,
			"servers": []any{map[string]any{
				"port":  map[string]any{"number": 443, "name": "https", "protocol": "HTTPS"},
				"tls":   tls,
				"hosts": []string{gateway.Host},
			}},
		},
	}}
}

// policy allows by the header that the gateway writes: what a VirtualService sets isn't there yet
// when policies are asked.
func (d *Description) policy(gateway IstioGateway) Manifest {
	return Manifest{
		fmt.Sprintf("Of all certificates of the CA it lets this subject alone call %s. The gateway itself writes X-Forwarded-Client-Cert from the certificate of the connection, "+
			"and drops what a client sends under that name, as long as gatewayTopology.forwardClientCertDetails of your mesh is SANITIZE_SET, its default for gateways. With any other value don't rely on this policy. "+
			"Headers that a VirtualService sets come too late for it. From its first ALLOW policy on, a gateway refuses what none of them allows: allow its other hosts first. "+
			"The policy also relies on the CA, which must vet the names that it signs: URIs and DNS names come into the header as they are, so that a certificate of the CA with a URI or DNS name "+
			"that has a semicolon or a quotation mark in it can pass for this one. Such names must not be signed. "+
			"The values of other clients go beside this one. A new certificate with another subject, DNS name or URI needs another value.", gateway.Host),
		map[string]any{
			"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata(gateway.Namespace, gateway.CredentialName),
			"spec": map[string]any{
				"selector": map[string]any{"matchLabels": gateway.Selector},
				"action":   "ALLOW",
				"rules": []any{map[string]any{
					// With its port the host is another one:
					// https://istio.io/latest/docs/ops/best-practices/security/#writing-host-match-policies
					"to":   []any{map[string]any{"operation": map[string]any{"hosts": []string{gateway.Host, gateway.Host + ":*"}}}},
					"when": []any{map[string]any{"key": "request.headers[X-Forwarded-Client-Cert]", "values": []string{"*" + forwardedEnd(d.leaf)}}},
				}},
			},
		},
	}
}

// forwardedEnd is what follows the certificate itself in X-Forwarded-Client-Cert as Istio's
// gateways have Envoy write it: the subject, then all URIs, or an empty one, then all DNS names
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-client-cert).
// Istio compares a whole value, a beginning or an end, and what comes before changes with every
// certificate.
func forwardedEnd(leaf *x509.Certificate) string {
	uris := generalNames(leaf, uriName)
	if len(uris) == 0 {
		uris = []string{""}
	}
	parts := []string{"", `Subject="` + EnvoySubject(leaf.RawSubject) + `"`}
	for _, uri := range uris {
		parts = append(parts, "URI="+uri)
	}
	for _, name := range generalNames(leaf, dnsName) {
		parts = append(parts, "DNS="+name)
	}
	return strings.Join(parts, ";")
}

// The tags of names in the extension (RFC 5280 §4.2.1.6).
const (
	dnsName = 2
	uriName = 6
)

// generalNames are the subject alternative names of a kind, to the letter: crypto/x509 has URIs
// parsed, which may write them otherwise.
func generalNames(certificate *x509.Certificate, tag int) []string {
	value, _ := extension(certificate, 2, 5, 29, 17)
	var all []asn1.RawValue
	if _, err := asn1.Unmarshal(value, &all); err != nil {
		return nil
	}
	var names []string
	for _, name := range all {
		if name.Class == asn1.ClassContextSpecific && name.Tag == tag {
			names = append(names, string(name.Bytes))
		}
	}
	return names
}
