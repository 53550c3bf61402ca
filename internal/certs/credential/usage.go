package credential

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
)

// checkUsage validates that the extensions of a certificate allow a TLS client. A missing extension
// allows everything. The rules are those of OpenSSL's "verify -purpose sslclient", which most
// servers apply, with two exceptions:
//   - anyExtendedKeyUsage is accepted, as RFC 5280 §4.2.1.12 allows and Go and Java servers do.
//   - keyAgreement without digitalSignature is refused: TLS 1.3 forbids it (RFC 8446 §4.4.2.2), and
//     in TLS 1.2 it is for static Diffie-Hellman, which the sidecar doesn't support.
func checkUsage(p part, leaf *x509.Certificate) []Problem {
	var problems []Problem
	object := func(format string, args ...any) {
		problems = append(problems, Problem{NotForClientAuth, p.key, fmt.Sprintf(
			"%s can't be used as a TLS client (%s): %s", p, identify(leaf), fmt.Sprintf(format, args...))})
	}

	if _, found := extension(leaf, 2, 5, 29, 37); found &&
		!slices.Contains(leaf.ExtKeyUsage,
			x509.ExtKeyUsageClientAuth) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
		object("its extended key usage is %s; it must be clientAuth", Printable(extendedKeyUsages(leaf)))
	}
	if _, found := extension(leaf, 2, 5, 29, 15); found && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		object("its key usage is %s; it must include digitalSignature", keyUsages(leaf.KeyUsage))
	}
	// https://docs.oracle.com/cd/E19957-01/816-5533-10/ext.htm#1023061
	if value, found := extension(leaf, 2, 16, 840, 1, 113730, 1, 1); found && !netscapeClient(value) {
		object("its Netscape certificate type doesn't include SSL client")
	}
	return problems
}

func extension(certificate *x509.Certificate, oid ...int) (value []byte, found bool) {
	for _, e := range certificate.Extensions {
		if e.Id.Equal(oid) {
			return e.Value, true
		}
	}
	return nil, false
}

func netscapeClient(value []byte) bool {
	var bits asn1.BitString
	_, err := asn1.Unmarshal(value, &bits)
	return err == nil && bits.At(0) == 1
}

func extendedKeyUsages(certificate *x509.Certificate) string {
	var names []string
	for _, usage := range certificate.ExtKeyUsage {
		names = append(names, extendedKeyUsage(usage))
	}
	for _, oid := range certificate.UnknownExtKeyUsage {
		names = append(names, oid.String())
	}
	return list(names)
}

// extendedKeyUsage returns the name of a purpose in RFC 5280 §4.2.1.12, or in OpenSSL if the RFC
// has none.
func extendedKeyUsage(usage x509.ExtKeyUsage) string {
	switch usage {
	case x509.ExtKeyUsageServerAuth:
		return "serverAuth"
	case x509.ExtKeyUsageCodeSigning:
		return "codeSigning"
	case x509.ExtKeyUsageEmailProtection:
		return "emailProtection"
	case x509.ExtKeyUsageTimeStamping:
		return "timeStamping"
	case x509.ExtKeyUsageOCSPSigning:
		return "OCSPSigning"
	default:
		return "another one"
	}
}

// keyUsages returns the names of the bits in RFC 5280 §4.2.1.3.
func keyUsages(usage x509.KeyUsage) string {
	var names []string
	for bit, name := range []string{
		"digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement",
		"keyCertSign", "cRLSign", "encipherOnly", "decipherOnly",
	} {
		if usage&(1<<bit) != 0 {
			names = append(names, name)
		}
	}
	return list(names)
}

func list(names []string) string {
	if len(names) == 0 {
		return "empty"
	}
	return strings.Join(names, ", ")
}
