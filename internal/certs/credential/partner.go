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

// Description describes a client credential for the partner who should admit it. It contains no
// secret, and nothing about the server.
type Description struct {
	// Subject is in the notation of RFC 4514, EnvoySubject in the notation of [EnvoySubject].
	Subject      string `json:"subject"`
	EnvoySubject string `json:"envoySubject"`
	// The subject alternative names.
	DNSNames    []string `json:"dnsNames,omitempty"`
	URIs        []string `json:"uris,omitempty"`
	Emails      []string `json:"emails,omitempty"`
	IPAddresses []string `json:"ipAddresses,omitempty"`
	// Issuer is the issuer of the certificate, in the notation of RFC 4514.
	Issuer string `json:"issuer"`
	// SerialNumber is in lowercase hexadecimal, two digits per byte, without separators.
	SerialNumber string `json:"serialNumber"`
	// NotBefore and NotAfter are the bounds of the validity, inclusive and in UTC.
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	// KeyType is the type of the public key, for example rsa-3072.
	KeyType string `json:"keyType"`
	// SHA256 is the fingerprint of the certificate in lowercase hexadecimal.
	SHA256 string `json:"sha256"`
	// PublicKeySHA256 is the hash of the SubjectPublicKeyInfo in base64. It doesn't change when the
	// certificate is renewed for the same key (https://www.rfc-editor.org/rfc/rfc7469#section-2.4).
	PublicKeySHA256 string `json:"publicKeySHA256"`
	// Issuers are the known issuers of the client certificate, each followed by its own issuer. A
	// self-signed certificate is its own issuer.
	Issuers []Issuer `json:"issuers"`
	// RootKnown reports whether the last of Issuers is a root.
	RootKnown bool `json:"rootKnown"`
	// Findings contains only warnings.
	Findings []Finding `json:"findings"`

	leaf    *x509.Certificate
	issuers []*x509.Certificate
}

// Issuer is a certificate that signed another one.
type Issuer struct {
	// Subject is in the notation of RFC 4514.
	Subject string `json:"subject"`
	// NotAfter is the expiry, in UTC.
	NotAfter time.Time `json:"notAfter"`
	// SHA256 is the fingerprint in lowercase hexadecimal.
	SHA256 string `json:"sha256"`
	// PEM is the certificate as one PEM block.
	PEM string `json:"pem"`
}

// ReadIssuers parses issuers of a client certificate from a PEM or DER file. name is the name of
// the file, for error messages.
func ReadIssuers(name string, content []byte) ([]*x509.Certificate, error) {
	return readCertificateFile(part{issuerPart, name}, content)
}

// Describe describes the credential for the partner. issuers are the certificates of the chain that
// are missing in the material. The CA of the server is never used as an issuer. If [Check] refuses
// the credential for a reason other than that CA, the error is a [*RefusedError]. It is also an
// error if none of issuers belongs to the chain.
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
	d.Findings = append([]Finding{}, Review(chain, Authorities{}, now)...)
	d.issuers, d.RootKnown = chain.issuers()
	for _, issuer := range d.issuers {
		facts := describe([]*x509.Certificate{issuer})
		d.Issuers = append(
			d.Issuers,
			Issuer{
				facts.Subject,
				facts.NotAfter,
				facts.SHA256,
				string(encodeCertificates([]*x509.Certificate{issuer})),
			},
		)
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
	return fmt.Errorf("none of the given issuers (%s) has issued the client certificate or an issuer of it: %s",
		strings.Join(given, "; "), right)
}

// leadsThrough reports whether certificate is one of the issuers in the chain.
func (c Chain) leadsThrough(certificate *x509.Certificate) bool {
	return slices.ContainsFunc(c.withRoot()[1:], certificate.Equal)
}

// issuers returns the issuers in the chain, and whether the root is one of them.
func (c Chain) issuers() (issuers []*x509.Certificate, rootKnown bool) {
	switch {
	case c.Root != nil:
		return c.withRoot()[1:], true
	case selfSigned(c.Certificates[0]):
		return c.Certificates[:1], true
	}
	return c.Certificates[1:], false
}

// IstioGateway is the gateway of a partner that uses Istio.
type IstioGateway struct {
	// Host is the name that clients call.
	Host string
	// Namespace is the namespace of the gateway's Pods.
	Namespace string
	// Selector contains labels of the gateway's Pods.
	Selector map[string]string
	// CredentialName is the name of the partner's Secret with the server certificate. The generated
	// objects have the same name.
	CredentialName string
}

// caSuffix is the suffix of the CA Secret that Istio reads in addition to the Secret with the
// server certificate:
// https://istio.io/latest/docs/reference/config/networking/gateway/#ServerTLSSettings-credential_name.
const caSuffix = "-cacert"

// CASecretName returns the name of the Secret with the CAs that the gateway trusts for
// CredentialName.
func (g IstioGateway) CASecretName() string { return g.CredentialName + caSuffix }

// Manifest is an object to apply, with an explanation.
type Manifest struct {
	// About is the explanation, without line breaks.
	About  string         `json:"about"`
	Object map[string]any `json:"object"`
}

// Manifests returns the objects with which a gateway admits only this credential to the host. It is
// an error if X-Forwarded-Client-Cert doesn't distinguish the certificate from others of its CA, or
// if no issuer is known that the gateway can trust. The error lists all problems, one per line.
func (d *Description) Manifests(gateway IstioGateway) ([]Manifest, error) {
	problems := d.indistinct()
	if len(d.issuers) == 0 {
		problems = append(
			problems,
			errors.New(
				"the certificate is alone, without its issuer "+issuerName(d.leaf)+", which the gateway must trust"),
		)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return []Manifest{d.caSecret(gateway), d.gateway(gateway), d.policy(gateway)}, nil
}

// indistinct returns the reasons why a policy on X-Forwarded-Client-Cert would also admit other
// certificates.
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
				problems = append(
					problems,
					fmt.Errorf(
						"the %s %s has a semicolon or a quotation mark, which X-Forwarded-Client-Cert doesn't "+
							"escape, so the gateway can't find its end: request a certificate without it", kind.name,
						Quote(name)),
				)
			}
		}
	}
	if !named {
		problems = append(
			problems,
			errors.New("the certificate has no subject, no DNS name and no URI, so X-Forwarded-Client-Cert doesn't "+
				"distinguish it from other certificates of its CA: request one with a name"),
		)
	}
	return problems
}

// forwardedSyntax contains the characters that end a name in X-Forwarded-Client-Cert. Envoy escapes
// them only in the subject, and doesn't escape URIs and DNS names:
// https://github.com/envoyproxy/envoy/blob/main/source/common/http/conn_manager_utility.cc
const forwardedSyntax = `;"`

func (d *Description) caSecret(gateway IstioGateway) Manifest {
	about := fmt.Sprintf("The CA that the gateway must trust: the issuers of the client certificate. Create the "+
		"Secret %s with the certificate of your server in the same namespace. If a Secret %s with the CAs of other "+
		"clients already exists, append these certificates to it instead.",
		gateway.CredentialName, gateway.CASecretName())
	if !d.RootKnown {
		about += " The root is not known. Istio's gateway doesn't need a root above these."
	}
	return Manifest{
		about,
		map[string]any{
			"apiVersion": "v1",
			"kind":       "Secret",
			"metadata":   metadata(gateway.Namespace, gateway.CASecretName()),
			"type":       "Opaque",
			"data":       map[string]any{"cacert": base64.StdEncoding.EncodeToString(encodeCertificates(d.issuers))},
		},
	}
}

func (d *Description) gateway(gateway IstioGateway) Manifest {
	tls := map[string]any{"mode": "MUTUAL", "credentialName": gateway.CredentialName}
	about := fmt.Sprintf("Requires client certificates for %s. Create the VirtualService that routes the host to your "+
		"service yourself, with %s/%s under gateways.", gateway.Host, gateway.Namespace, gateway.CredentialName)
	if names := slices.Concat(generalNames(d.leaf, dnsName), generalNames(d.leaf, uriName)); len(names) > 0 {
		tls["subjectAltNames"] = names
		about += " The handshake fails for certificates without any of subjectAltNames: add those of other clients."
	} else {
		about += " The client certificate has no DNS name and no URI, so every certificate of the CA passes the " +
			"handshake, and only the policy below distinguishes them. A client certificate with one of them is safer, " +
			"because the gateway then rejects others in the handshake."
	}
	return Manifest{
		about,
		map[string]any{
			"apiVersion": "networking.istio.io/v1",
			"kind":       "Gateway",
			"metadata":   metadata(gateway.Namespace, gateway.CredentialName),
			"spec": map[string]any{
				"selector": gateway.Selector,
				"servers": []any{map[string]any{
					"port":  map[string]any{"number": 443, "name": "https", "protocol": "HTTPS"},
					"tls":   tls,
					"hosts": []string{gateway.Host},
				}},
			},
		},
	}
}

// policy allows by the header that the gateway writes. Headers from a VirtualService don't work,
// because Istio evaluates policies before it sets them.
func (d *Description) policy(gateway IstioGateway) Manifest {
	return Manifest{
		fmt.Sprintf("Allows only this subject to call %s, among all certificates of the CA. The gateway writes "+
			"X-Forwarded-Client-Cert from the certificate of the connection, and drops the header if a client sends "+
			"it, as long as gatewayTopology.forwardClientCertDetails of your mesh is SANITIZE_SET, the default for "+
			"gateways. With any other value, don't rely on this policy. Headers that a VirtualService sets are not "+
			"available to the policy. As soon as a gateway has an ALLOW policy, it rejects everything that no ALLOW "+
			"policy matches: allow its other hosts first. The policy also relies on the CA, which must validate the "+
			"names that it signs: URIs and DNS names are copied into the header without escaping, so a certificate "+
			"of the CA with a URI or DNS name that contains a semicolon or a quotation mark can pass as this one. "+
			"The CA must not sign such names. Add the values of other clients next to this one. A new certificate "+
			"with another subject, DNS name or URI needs another value.", gateway.Host),
		map[string]any{
			"apiVersion": "security.istio.io/v1",
			"kind":       "AuthorizationPolicy",
			"metadata":   metadata(gateway.Namespace, gateway.CredentialName),
			"spec": map[string]any{
				"selector": map[string]any{"matchLabels": gateway.Selector},
				"action":   "ALLOW",
				"rules": []any{
					map[string]any{
						// The host with its port needs another entry:
						// https://istio.io/latest/docs/ops/best-practices/security/#writing-host-match-policies
						"to": []any{
							map[string]any{
								"operation": map[string]any{"hosts": []string{gateway.Host, gateway.Host + ":*"}},
							},
						},
						"when": []any{
							map[string]any{
								"key":    "request.headers[X-Forwarded-Client-Cert]",
								"values": []string{"*" + forwardedEnd(d.leaf)},
							},
						},
					},
				},
			},
		},
	}
}

// forwardedEnd returns the end of X-Forwarded-Client-Cert in Istio's gateways, after the hash of
// the certificate: the subject, then all URIs or an empty one, then all DNS names
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-client-cert).
// Istio compares the whole value, a prefix or a suffix. The part before the suffix changes with
// every certificate.
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

// The tags of names in the subject alternative name extension (RFC 5280 §4.2.1.6).
const (
	dnsName = 2
	uriName = 6
)

// generalNames returns the subject alternative names with a tag, unchanged. crypto/x509 parses
// URIs, which can change how they are written.
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
