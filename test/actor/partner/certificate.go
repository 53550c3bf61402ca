package partner

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
)

// describe says what of a client certificate is recorded.
func describe(certificate *x509.Certificate) *ClientCertificate {
	sum := sha256.Sum256(certificate.Raw)
	client := &ClientCertificate{
		Subject:      distinguishedName(certificate.RawSubject, certificate.Subject),
		Issuer:       distinguishedName(certificate.RawIssuer, certificate.Issuer),
		DNSNames:     certificate.DNSNames,
		SerialNumber: certificate.SerialNumber.Text(16),
		SHA256:       hex.EncodeToString(sum[:]),
	}
	for _, uri := range certificate.URIs {
		client.URIs = append(client.URIs, uri.String())
	}
	return client
}

// distinguishedName keeps the order of the certificate; pkix.Name sorts the attributes by type.
func distinguishedName(der []byte, name pkix.Name) string {
	var sequence pkix.RDNSequence
	if _, err := asn1.Unmarshal(der, &sequence); err != nil {
		return name.String()
	}
	return sequence.String()
}
