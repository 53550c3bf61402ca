package credential

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/util/validation"

	"mtls.egress/webhook/internal/egress"
)

// DefaultKeyType is the default type of keys. It is the fastest, and all current sidecars and
// servers support it.
const DefaultKeyType = "ecdsa-p256"

// KeyTypes returns the types of keys that [GenerateKey] supports. The sidecar supports all of them.
func KeyTypes() []string {
	return []string{DefaultKeyType, "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096"}
}

// CheckKeyType returns an error if [GenerateKey] doesn't support keyType.
func CheckKeyType(keyType string) error {
	if slices.Contains(KeyTypes(), keyType) {
		return nil
	}
	return fmt.Errorf("%s is not a key type: use one of %s", Quote(keyType), strings.Join(KeyTypes(), ", "))
}

// GenerateKey generates a private key of one of [KeyTypes].
func GenerateKey(keyType string) (crypto.Signer, error) {
	switch keyType {
	case "ecdsa-p256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ecdsa-p384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "rsa-2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "rsa-3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "rsa-4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	return nil, CheckKeyType(keyType)
}

// Identity contains the names of the holder of a client certificate.
type Identity struct {
	// Subject is a distinguished name in the notation of [ParseSubject], or "".
	Subject string
	// The subject alternative names. Partners that follow RFC 6125 check these and not the subject.
	DNSNames, URIs, Emails, IPAddresses []string
}

// CertificateRequest is a validated [Identity].
type CertificateRequest struct {
	template x509.CertificateRequest
}

// NewRequest validates an identity. The error lists all problems, one per line.
func NewRequest(identity Identity) (*CertificateRequest, error) {
	request := &CertificateRequest{}
	var problems []error
	names := len(identity.DNSNames) + len(identity.URIs) + len(identity.Emails) + len(identity.IPAddresses)
	if identity.Subject == "" && names == 0 {
		problems = append(problems, errors.New(
			"the certificate needs at least one name: specify a subject, DNS name, URI, email address or IP address"))
	}
	if identity.Subject != "" {
		der, err := ParseSubject(identity.Subject)
		if err != nil {
			problems = append(problems, prefixed("subject", err))
		}
		request.template.RawSubject = der
	}
	for _, name := range identity.DNSNames {
		lower := strings.ToLower(strings.TrimSuffix(name, "."))
		problems = append(problems, checkDNSName(name, lower))
		request.template.DNSNames = append(request.template.DNSNames, lower)
	}
	for _, text := range identity.IPAddresses {
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" {
			problems = append(problems,
				fmt.Errorf("%s is not an IP address, for example 192.0.2.1 or 2001:db8::1", Quote(text)))
			continue
		}
		request.template.IPAddresses = append(request.template.IPAddresses, address.Unmap().AsSlice())
	}
	for _, text := range identity.URIs {
		uri, err := url.Parse(text)
		if err != nil || uri.Scheme == "" || uri.Opaque == "" && uri.Host == "" ||
			strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
			problems = append(
				problems,
				fmt.Errorf("%s is not a URI: it must have a scheme and a host in ASCII, for example "+
					"spiffe://example.com/orders", Quote(text)),
			)
			continue
		}
		if written := uri.String(); written != text {
			// Partners compare URIs byte by byte.
			problems = append(problems,
				fmt.Errorf("the URI %s would be in the certificate as %s: write it so", Quote(text), Quote(written)))
			continue
		}
		if strings.ContainsAny(text, forwardedSyntax) {
			problems = append(
				problems,
				fmt.Errorf(
					"the URI %s has a semicolon or a quotation mark, so gateways that write it into a header read it "+
						"as several URIs: remove it", Quote(text)),
			)
			continue
		}
		request.template.URIs = append(request.template.URIs, uri)
	}
	for _, text := range identity.Emails {
		if address, err := mail.ParseAddress(text); err != nil || address.Address != text ||
			strings.ContainsFunc(text, func(r rune) bool { return r > '~' }) {
			problems = append(problems,
				fmt.Errorf("%s is not an ASCII email address, for example team@example.com", Quote(text)))
		}
		request.template.EmailAddresses = append(request.template.EmailAddresses, text)
	}
	return request, errors.Join(problems...)
}

// checkDNSName validates a DNS name and its form in the certificate.
func checkDNSName(name, lower string) error {
	address, err := netip.ParseAddr(strings.Trim(name, "[]"))
	switch {
	case err == nil:
		return fmt.Errorf("%s is an IP address and not a DNS name: servers compare the two kinds apart, so request it as "+
			"an IP address (--ip %s)", Quote(name), address)
	case strings.ContainsFunc(name, func(r rune) bool { return r > unicode.MaxASCII }):
		return fmt.Errorf("the DNS name %s %w", Quote(name), egress.NonASCII(lower))
	case len(validation.IsDNS1123Subdomain(lower)) > 0:
		return fmt.Errorf("%s is not a DNS name: it must have labels of letters, digits and inner hyphens, for "+
			"example orders.example.com", Quote(name))
	}
	return nil
}

// prefixed adds a prefix to each line of an error.
func prefixed(word string, err error) error {
	return errors.New(word + ": " + strings.ReplaceAll(err.Error(), "\n", "\n"+word+": "))
}

// Findings returns warnings about a certificate that is issued for the request.
func (r *CertificateRequest) Findings() []Finding {
	t := r.template
	if len(t.DNSNames)+len(t.URIs)+len(t.EmailAddresses)+len(t.IPAddresses) > 0 {
		return nil
	}
	return []Finding{
		warning(NoSubjectAltName,
			"the request has no subject alternative name: partners that check names, such as Istio's gateway with "+
				"subjectAltNames, use these and not the CN; add a DNS name or URI, unless the "+
				"partner checks the subject"),
	}
}

// Encode signs the request (RFC 2986) with key. It returns the key as PKCS#8 and the request, both
// as PEM. The request contains the key usages of a TLS client.
func (r *CertificateRequest) Encode(key crypto.Signer) (keyPEM, requestPEM []byte, err error) {
	template := r.template
	template.ExtraExtensions, err = clientUsages()
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		return nil, nil, fmt.Errorf("signing the request: %w", err)
	}
	keyPEM, err = encodePrivateKey(key)
	return keyPEM, pem.EncodeToMemory(&pem.Block{Type: requestBlock, Bytes: der}), err
}

// clientUsages returns the key usage extensions of a TLS client (RFC 5280 §4.2.1.3 and §4.2.1.12).
func clientUsages() ([]pkix.Extension, error) {
	usage, usageErr := asn1.Marshal(asn1.BitString{Bytes: []byte{0x80}, BitLength: 1})
	purposes, purposesErr := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 2}})
	return []pkix.Extension{
		{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: usage},
		{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: purposes},
	}, errors.Join(usageErr, purposesErr)
}
