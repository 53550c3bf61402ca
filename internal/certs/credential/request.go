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
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// DefaultKeyType is the type of keys when nobody says: what every sidecar and server of today
// knows, and the fastest.
const DefaultKeyType = "ecdsa-p256"

// KeyTypes are the types of keys that can be made: those of which the sidecar presents a
// certificate.
func KeyTypes() []string {
	return []string{DefaultKeyType, "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096"}
}

// CheckKeyType reports whether [GenerateKey] knows a type.
func CheckKeyType(keyType string) error {
	if slices.Contains(KeyTypes(), keyType) {
		return nil
	}
	return fmt.Errorf("%s is no type of key: it is one of %s", quoted(keyType), strings.Join(KeyTypes(), ", "))
}

// GenerateKey makes a private key of one of [KeyTypes] from the randomness of the system.
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

// Identity is what a client certificate should say about its holder.
type Identity struct {
	// Subject is a distinguished name as [ParseSubject] reads it; "" for none.
	Subject string
	// Subject alternative names. Partners check these, and not the subject, wherever they follow RFC
	// 6125.
	DNSNames, URIs, Emails []string
}

// CertificateRequest is an [Identity] that was checked.
type CertificateRequest struct {
	template x509.CertificateRequest
}

// NewRequest checks an identity. The error has all problems, a line each.
func NewRequest(identity Identity) (*CertificateRequest, error) {
	request := &CertificateRequest{}
	var problems []error
	if identity.Subject == "" && len(identity.DNSNames)+len(identity.URIs)+len(identity.Emails) == 0 {
		problems = append(problems, errors.New("the certificate would name nobody: give a subject, or a DNS name, URI or e-mail address"))
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
		if len(validation.IsDNS1123Subdomain(lower)) > 0 {
			problems = append(problems, fmt.Errorf("%s is no DNS name: it has labels of letters, digits and inner hyphens, for example orders.example.com", quoted(name)))
		}
		request.template.DNSNames = append(request.template.DNSNames, lower)
	}
	for _, text := range identity.URIs {
		uri, err := url.Parse(text)
		if err != nil || uri.Scheme == "" || uri.Opaque == "" && uri.Host == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
			problems = append(problems, fmt.Errorf("%s is no URI: it has a scheme and a host in ASCII, for example spiffe://example.com/orders", quoted(text)))
			continue
		}
		if written := uri.String(); written != text {
			// Partners compare these names byte for byte.
			problems = append(problems, fmt.Errorf("the URI %s would stand in the certificate as %s: write it so", quoted(text), quoted(written)))
			continue
		}
		if strings.ContainsAny(text, forwardedSyntax) {
			problems = append(problems, fmt.Errorf("the URI %s has a semicolon or a quotation mark, by which gateways that write it into a header take it for several: write it without", quoted(text)))
			continue
		}
		request.template.URIs = append(request.template.URIs, uri)
	}
	for _, text := range identity.Emails {
		if address, err := mail.ParseAddress(text); err != nil || address.Address != text || strings.ContainsFunc(text, func(r rune) bool { return r > '~' }) {
			problems = append(problems, fmt.Errorf("%s is no e-mail address in ASCII, for example team@example.com", quoted(text)))
		}
		request.template.EmailAddresses = append(request.template.EmailAddresses, text)
	}
	return request, errors.Join(problems...)
}

// prefixed puts a word before each line of an error.
func prefixed(word string, err error) error {
	return errors.New(word + ": " + strings.ReplaceAll(err.Error(), "\n", "\n"+word+": "))
}

// Findings are what a partner may stumble over in the certificate that is made of the request.
func (r *CertificateRequest) Findings() []Finding {
	if len(r.template.DNSNames)+len(r.template.URIs)+len(r.template.EmailAddresses) > 0 {
		return nil
	}
	return []Finding{warning(NoSubjectAltName, "the request has no subject alternative name: partners that check names look there, as Istio's gateway does with subjectAltNames, and not at the CN; "+
		"give a DNS name or URI unless the partner says that it goes by the subject")}
}

// Encode signs the request with the key that it is for, and returns the key as PKCS#8 and the
// request (RFC 2986), both PEM. The request asks for the usages that a TLS client needs.
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

// clientUsages are the extensions of RFC 5280 §4.2.1.3 and §4.2.1.12 for a TLS client.
func clientUsages() ([]pkix.Extension, error) {
	usage, usageErr := asn1.Marshal(asn1.BitString{Bytes: []byte{0x80}, BitLength: 1})
	purposes, purposesErr := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 2}})
	return []pkix.Extension{
		{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: usage},
		{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: purposes},
	}, errors.Join(usageErr, purposesErr)
}
