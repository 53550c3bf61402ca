package credential

import (
	"bytes"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/egress"
)

// Inspection is all that can be told of a credential without a secret of it.
type Inspection struct {
	// Format is PEM, PKCS#12 or Secret.
	Format string `json:"format"`
	// Layout names the keys of a Secret; "" for files.
	Layout string `json:"layout,omitempty"`
	// KeyType is the type of the private key, for example ecdsa-p256; "" when there is none that can
	// be read.
	KeyType string `json:"keyType,omitempty"`
	// Chain are the client certificate and those that lead to its root, in the order of the file.
	Chain []Details `json:"chain"`
	// ServerCA are the certificates of the CA of the server.
	ServerCA []Details `json:"serverCA,omitempty"`
	// Findings are what keeps the credential from being used, then the warnings.
	Findings []Finding `json:"findings"`
}

// Refused reports whether the credential is not used.
func (i *Inspection) Refused() bool {
	return slices.ContainsFunc(i.Findings, func(f Finding) bool { return f.Severity == Refused })
}

// Details is one certificate as a person wants to see it.
type Details struct {
	// Subject and Issuer as RFC 4514 writes them.
	Subject string `json:"subject"`
	Issuer  string `json:"issuer"`
	// EnvoySubject is the subject as [EnvoySubject] writes it.
	EnvoySubject string `json:"envoySubject"`
	// SerialNumber in lower-case hexadecimal.
	SerialNumber string `json:"serialNumber"`
	// NotBefore and NotAfter bound the validity, in UTC.
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	// DaysLeft are whole days; negative after the end.
	DaysLeft int `json:"daysLeft"`
	// Subject alternative names.
	DNSNames    []string `json:"dnsNames,omitempty"`
	URIs        []string `json:"uris,omitempty"`
	Emails      []string `json:"emails,omitempty"`
	IPAddresses []string `json:"ipAddresses,omitempty"`
	// KeyType is the type of the public key, for example rsa-3072.
	KeyType string `json:"keyType"`
	// Signature is how the issuer signed, for example ECDSA-SHA256.
	Signature string `json:"signature"`
	// KeyUsage and ExtendedKeyUsage by the names of RFC 5280; "" when the certificate has no such
	// extension.
	KeyUsage         string `json:"keyUsage,omitempty"`
	ExtendedKeyUsage string `json:"extendedKeyUsage,omitempty"`
	// Authority and SelfSigned say what the certificate is in the chain.
	Authority  bool `json:"authority,omitempty"`
	SelfSigned bool `json:"selfSigned,omitempty"`
	// SHA256 is the fingerprint in lower-case hexadecimal.
	SHA256 string `json:"sha256"`
	// IssuedByNext reports whether the certificate behind this one has signed it.
	IssuedByNext bool `json:"issuedByNext,omitempty"`
}

// The formats of an inspection.
const (
	FormatPEM    = "PEM"
	FormatPKCS12 = "PKCS#12"
	FormatSecret = "Secret"
)

// Material is a credential as it was found, not judged yet.
type Material struct {
	format string
	// data are the values of a Secret, or what they would be, by the keys of layout.
	data   map[string][]byte
	layout egress.Layout
	// chain is what data holds, and what came along with it, in the order of the file.
	chain Chain
	// keyless says that there is no private key, and that none is expected.
	keyless bool
	// doubts are findings about the Secret as a whole.
	doubts []Finding
}

// MaterialOfCertificates reads a file of certificates, the client's first, with or without the
// private key, PEM or DER. name is that of the file, for messages.
func MaterialOfCertificates(name string, content []byte) (*Material, error) {
	certificates, err := ReadCertificates(name, content)
	if err != nil {
		return nil, err
	}
	if countBegin(content) == 0 {
		content = encodeCertificates(certificates)
	}
	return &Material{
		format: FormatPEM, data: map[string][]byte{name: content}, layout: egress.Layout{Certificate: name, PrivateKey: name},
		chain: Chain{Certificates: certificates}, keyless: !bytes.Contains(content, []byte(pkcs8Block)),
	}, nil
}

// MaterialOfPKCS12 reads a PKCS#12 file, whose certificates it puts in order.
func MaterialOfPKCS12(content []byte, password string) (*Material, error) {
	bundle, err := ReadPKCS12(content, password)
	if err != nil {
		return nil, err
	}
	if problem := checkChain(bundle.Certificates); problem != "" {
		return nil, errors.New("the file holds " + problem)
	}
	chain, err := Arrange(bundle)
	if err != nil {
		// The judgement says it again, next to what there is.
		chain = Chain{Certificates: bundle.Certificates}
	}
	key, err := encodePrivateKey(bundle.PrivateKey)
	if err != nil {
		return nil, err
	}
	layout := CertKeyLayout()
	layout.ServerCA = ""
	return &Material{
		format: FormatPKCS12, data: map[string][]byte{layout.Certificate: encodeCertificates(chain.Certificates), layout.PrivateKey: key}, layout: layout, chain: chain,
	}, nil
}

// MaterialOfSecret takes a Secret of a known layout. The error is a [*RefusedError] when it has
// none. Nothing is known of its EgressTarget, so what depends on that is a warning.
func MaterialOfSecret(secret *corev1.Secret) (*Material, error) {
	layout, err := DetectLayout(secret.Data)
	if err != nil {
		return nil, ForOwner(err)
	}
	certificates, _ := readCertificates(part{certificatePart, layout.Certificate}, secret.Data[layout.Certificate])
	material := &Material{format: FormatSecret, data: secret.Data, layout: layout, chain: Chain{Certificates: certificates}}
	if _, found := secret.Data[layout.ServerCA]; found {
		for _, finding := range FindingsOf(checkServerCAChosen(egress.Target{}, secret, layout)) {
			material.doubts = append(material.doubts, Finding{Warning, finding.Reason, "without serverCA in the EgressTarget this Secret is refused: " + finding.Message})
		}
	}
	return material, nil
}

// judge is [Check] for the owner, for which a file without a private key may have none.
func (m *Material) check(layout egress.Layout, now time.Time) error {
	_, err := Check(m.data, layout, now)
	err = ForOwner(err)
	refused, ok := errors.AsType[*RefusedError](err)
	if !ok || !m.keyless {
		return err
	}
	return refuse(slices.DeleteFunc(refused.Problems, func(p Problem) bool { return p.Reason == PrivateKeyUnreadable })...)
}

// Inspect judges the material and describes it.
func (m *Material) Inspect(now time.Time) *Inspection {
	layout := m.layout
	authority := part{serverCAPart, layout.ServerCA}
	if _, absent := authority.absence(m.data); absent {
		layout.ServerCA = ""
	}
	var serverCA []*x509.Certificate
	if layout.ServerCA != "" {
		serverCA, _ = readCertificates(authority, m.data[layout.ServerCA])
	}
	inspection := &Inspection{
		Format:   m.format,
		Chain:    detail(slices.Concat(m.chain.withRoot(), m.chain.Unrelated), now),
		ServerCA: detail(serverCA, now),
		Findings: slices.Concat([]Finding{}, FindingsOf(m.check(layout, now)), m.doubts, Review(m.chain, serverCA, now)),
	}
	if key, problem := readPrivateKey(part{privateKeyPart, layout.PrivateKey}, m.data[layout.PrivateKey]); problem == "" {
		inspection.KeyType = keyType(key.Public())
	}
	if m.format != FormatSecret {
		return inspection
	}
	inspection.Layout = layout.String()
	if layout.ServerCA == "" {
		inspection.Findings = append(inspection.Findings, warning(ServerCAMissing,
			"the Secret has no %s: it is used only with an EgressTarget that takes the CA from elsewhere (serverCA.system or serverCA.configMap)", authority))
	}
	return inspection
}

func detail(certificates []*x509.Certificate, now time.Time) []Details {
	details := make([]Details, 0, len(certificates))
	for i, certificate := range certificates {
		known := describe([]*x509.Certificate{certificate})
		one := Details{
			Subject: known.Subject, Issuer: known.Issuer, EnvoySubject: EnvoySubject(certificate.RawSubject), SerialNumber: known.SerialNumber,
			NotBefore: known.NotBefore, NotAfter: known.NotAfter, DaysLeft: DaysLeft(certificate.NotAfter, now),
			DNSNames: known.DNSNames, URIs: known.URIs, Emails: known.Emails, IPAddresses: known.IPAddresses,
			KeyType: known.KeyType, Signature: certificate.SignatureAlgorithm.String(), Authority: certificate.IsCA, SelfSigned: selfSigned(certificate),
			SHA256: known.SHA256, IssuedByNext: i+1 < len(certificates) && issuedBy(certificate, certificates[i+1]),
		}
		if _, found := extension(certificate, 2, 5, 29, 15); found {
			one.KeyUsage = keyUsages(certificate.KeyUsage)
		}
		if _, found := extension(certificate, 2, 5, 29, 37); found {
			one.ExtendedKeyUsage = purposes(certificate)
		}
		details = append(details, one)
	}
	return details
}

// purposes are the names of all purposes, clientAuth and any among them, which the words of a
// refusal never need.
func purposes(certificate *x509.Certificate) string {
	var names []string
	for _, usage := range certificate.ExtKeyUsage {
		switch usage {
		case x509.ExtKeyUsageClientAuth:
			names = append(names, "clientAuth")
		case x509.ExtKeyUsageAny:
			names = append(names, "anyExtendedKeyUsage")
		default:
			names = append(names, extendedKeyUsage(usage))
		}
	}
	for _, oid := range certificate.UnknownExtKeyUsage {
		names = append(names, oid.String())
	}
	return strings.Join(names, ", ")
}
