package credential

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/egress"
)

// Inspection describes a credential. It contains no secret.
type Inspection struct {
	// Format is PEM, PKCS#12 or Secret.
	Format string `json:"format"`
	// Layout lists the keys of a Secret. "" for files.
	Layout string `json:"layout,omitempty"`
	// KeyType is the type of the private key, for example ecdsa-p256. "" if the key is missing or
	// unreadable.
	KeyType string `json:"keyType,omitempty"`
	// Chain is the client certificate and its issuers, in the order of the file.
	Chain []Details `json:"chain"`
	// ServerCA are the certificates of the CA of the server.
	ServerCA []Details `json:"serverCA,omitempty"`
	// Findings lists the reasons why the credential is refused, followed by the warnings.
	Findings []Finding `json:"findings"`
}

// Refused reports whether the credential is refused.
func (i *Inspection) Refused() bool {
	return slices.ContainsFunc(i.Findings, func(f Finding) bool { return f.Severity == Refused })
}

// Details describes one certificate for users.
type Details struct {
	// Subject and Issuer are in the notation of RFC 4514.
	Subject string `json:"subject"`
	Issuer  string `json:"issuer"`
	// EnvoySubject is the subject in the notation of [EnvoySubject].
	EnvoySubject string `json:"envoySubject"`
	// SerialNumber is in lowercase hexadecimal.
	SerialNumber string `json:"serialNumber"`
	// NotBefore and NotAfter are the bounds of the validity, in UTC.
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	// DaysLeft is the number of whole days until the expiry. It is negative afterwards.
	DaysLeft int `json:"daysLeft"`
	// The subject alternative names.
	DNSNames    []string `json:"dnsNames,omitempty"`
	URIs        []string `json:"uris,omitempty"`
	Emails      []string `json:"emails,omitempty"`
	IPAddresses []string `json:"ipAddresses,omitempty"`
	// KeyType is the type of the public key, for example rsa-3072.
	KeyType string `json:"keyType"`
	// Signature is the signature algorithm, for example ECDSA-SHA256.
	Signature string `json:"signature"`
	// KeyUsage and ExtendedKeyUsage use the names of RFC 5280. "" if the certificate doesn't have
	// the extension.
	KeyUsage         string `json:"keyUsage,omitempty"`
	ExtendedKeyUsage string `json:"extendedKeyUsage,omitempty"`
	// Authority reports whether the certificate is a CA, SelfSigned whether it signed itself.
	Authority  bool `json:"authority,omitempty"`
	SelfSigned bool `json:"selfSigned,omitempty"`
	// SHA256 is the fingerprint in lowercase hexadecimal.
	SHA256 string `json:"sha256"`
	// IssuedByNext reports whether the next certificate signed this one.
	IssuedByNext bool `json:"issuedByNext,omitempty"`
}

// The formats of an inspection.
const (
	FormatPEM    = "PEM"
	FormatPKCS12 = "PKCS#12"
	FormatSecret = "Secret"
)

// Material is a credential that has not been validated yet.
type Material struct {
	format string
	// data are the values of a Secret by the keys of layout. For files, data is the equivalent.
	data   map[string][]byte
	layout egress.Layout
	// chain holds the certificates in the order of the file.
	chain Chain
	// keyless reports whether the material is without a private key, and may be.
	keyless bool
	// doubts are warnings about the Secret or the file as a whole.
	doubts []Finding
	// refusal is the [*RefusedError] of a file that is not usable, which is not checked any
	// further.
	refusal error
}

// MaterialOfCertificates parses a PEM or DER file with certificates, of which the client
// certificate is the first. The file can also contain the private key. name is the name of the
// file, for messages.
func MaterialOfCertificates(name string, content []byte) (*Material, error) {
	certificates, err := ReadCertificates(name, content)
	if err != nil {
		return unusablePEM(name, content, err)
	}
	var doubts []Finding
	if text, form, err := Text(content); !isDER(content) && err == nil && form != "" {
		content = text
		doubts = append(doubts, warning(EncodingConverted,
			"%s %s: the commands here read it, but the sidecar can't; save it as plain ASCII with line breaks before you put "+
				"it into a Secret", part{certificatePart, name}, form))
	}
	if _, found, _ := expandPKCS7(part{}, content); found || countBegin(content) == 0 {
		content = slices.Concat(encodeCertificates(certificates), privateKeyBlocks(content))
	}
	return &Material{
		format:  FormatPEM,
		doubts:  doubts,
		data:    map[string][]byte{name: content},
		layout:  egress.Layout{Certificate: name, PrivateKey: name},
		chain:   Chain{Certificates: certificates},
		keyless: !bytes.Contains(content, []byte(pkcs8Block)),
	}, nil
}

// MaterialOfPKCS12 parses a PKCS#12 file, and sorts its certificates.
func MaterialOfPKCS12(content []byte, password string) (*Material, error) {
	bundle, err := ReadPKCS12(content, password)
	if _, refused := errors.AsType[*RefusedError](err); refused {
		return unusableMaterial(FormatPKCS12, bundle, err), nil
	}
	if err != nil {
		return nil, err
	}
	if problem := checkChain(bundle.Certificates); problem != "" {
		return nil, errors.New("the file holds " + problem)
	}
	chain, err := Arrange(bundle)
	if err != nil {
		// The validation reports the error again, together with the certificates.
		chain = Chain{Certificates: bundle.Certificates}
	}
	key, err := encodePrivateKey(bundle.PrivateKey)
	if err != nil {
		return nil, err
	}
	layout := CertKeyLayout()
	layout.ServerCA = ""
	return &Material{
		format: FormatPKCS12,
		data:   map[string][]byte{layout.Certificate: encodeCertificates(chain.Certificates), layout.PrivateKey: key},
		layout: layout,
		chain:  chain,
		doubts: bundle.Findings,
	}, nil
}

// unusableMaterial is a file whose key or certificate is of a type that can't be used. err is the
// [*RefusedError].
func unusableMaterial(format string, bundle Bundle, err error) *Material {
	return &Material{format: format, chain: Chain{Certificates: bundle.Certificates}, doubts: bundle.Findings,
		refusal: err}
}

// unusablePEM returns the material of a file whose certificate can't be parsed, if its private key
// is the reason, and otherwise err.
func unusablePEM(name string, content []byte, err error) (*Material, error) {
	keys := privateKeyBlocks(content)
	if len(keys) == 0 {
		return nil, err
	}
	_, problem := readPrivateKey(part{privateKeyPart, name}, keys)
	if problem == "" {
		return nil, err
	}
	return unusableMaterial(FormatPEM, Bundle{}, refuse(Problem{CertificateUnreadable, name, err.Error()},
		Problem{PrivateKeyUnreadable, name, problem})), nil
}

// privateKeyBlocks returns the private keys of a PEM file.
func privateKeyBlocks(content []byte) []byte {
	var keys []byte
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, pkcs8Block) {
			keys = append(keys, pem.EncodeToMemory(block)...)
		}
	}
	return keys
}

// MaterialOfSecret takes a Secret of a known layout. The error is a [*RefusedError] when it has
// none. Nothing is known of its EgressTarget, so what depends on that is a warning.
func MaterialOfSecret(secret *corev1.Secret) (*Material, error) {
	layout, err := DetectLayout(secret.Data)
	if err != nil {
		return nil, ForOwner(err)
	}
	certificates, _ := readCertificates(part{certificatePart, layout.Certificate}, secret.Data[layout.Certificate])
	material := &Material{
		format: FormatSecret,
		data:   secret.Data,
		layout: layout,
		chain:  Chain{Certificates: certificates},
	}
	if _, found := secret.Data[layout.ServerCA]; found {
		for _, finding := range FindingsOf(checkServerCAChosen(egress.Target{}, secret, layout)) {
			material.doubts = append(
				material.doubts,
				Finding{
					Warning,
					finding.Reason,
					"without serverCA in the EgressTarget this Secret is refused: " + finding.Message,
				},
			)
		}
	}
	return material, nil
}

// check is [Check] with messages for the owner. It accepts a missing private key in a file of
// certificates.
func (m *Material) check(layout egress.Layout, now time.Time) error {
	if m.refusal != nil {
		return m.refusal
	}
	_, err := Check(m.data, layout, now)
	err = ForOwner(err)
	refused, ok := errors.AsType[*RefusedError](err)
	if !ok || !m.keyless {
		return err
	}
	return refuse(
		slices.DeleteFunc(refused.Problems, func(p Problem) bool { return p.Reason == PrivateKeyUnreadable })...)
}

// Inspect validates and describes the material.
func (m *Material) Inspect(now time.Time) *Inspection {
	layout := m.layout
	authority := part{serverCAPart, layout.ServerCA}
	if _, absent := authority.absence(m.data); absent {
		layout.ServerCA = ""
	}
	var serverCA Authorities
	if layout.ServerCA != "" {
		serverCA, _ = readAuthorities(authority, m.data[layout.ServerCA])
	}
	inspection := &Inspection{
		Format:   m.format,
		Chain:    detail(slices.Concat(m.chain.withRoot(), m.chain.Unrelated), now),
		ServerCA: detail(serverCA.Certificates, now),
		Findings: slices.Concat([]Finding{}, FindingsOf(m.check(layout, now)), m.doubts,
			Review(m.chain, serverCA, now)),
	}
	if key, problem := readPrivateKey(part{privateKeyPart, layout.PrivateKey},
		m.data[layout.PrivateKey]); problem == "" {
		inspection.KeyType = keyType(key.Public())
	}
	if m.format != FormatSecret {
		return inspection
	}
	inspection.Layout = layout.String()
	if layout.ServerCA == "" {
		inspection.Findings = append(inspection.Findings, warning(ServerCAMissing,
			"the Secret has no %s: it is usable only with an EgressTarget that gets the CA from another source "+
				"(serverCA.system or serverCA.configMap)", authority))
	}
	return inspection
}

func detail(certificates []*x509.Certificate, now time.Time) []Details {
	details := make([]Details, 0, len(certificates))
	for i, certificate := range certificates {
		known := describe([]*x509.Certificate{certificate})
		one := Details{
			Subject:      known.Subject,
			Issuer:       known.Issuer,
			EnvoySubject: EnvoySubject(certificate.RawSubject),
			SerialNumber: known.SerialNumber,
			NotBefore:    known.NotBefore,
			NotAfter:     known.NotAfter,
			DaysLeft:     DaysLeft(certificate.NotAfter, now),
			DNSNames:     known.DNSNames,
			URIs:         known.URIs,
			Emails:       known.Emails,
			IPAddresses:  known.IPAddresses,
			KeyType:      known.KeyType,
			Signature:    certificate.SignatureAlgorithm.String(),
			Authority:    certificate.IsCA,
			SelfSigned:   selfSigned(certificate),
			SHA256:       known.SHA256,
			IssuedByNext: i+1 < len(certificates) && issuedBy(certificate, certificates[i+1]),
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

// purposes returns the names of all extended key usages. Unlike extendedKeyUsages, it has names for
// clientAuth and anyExtendedKeyUsage, which never occur in a refusal.
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
