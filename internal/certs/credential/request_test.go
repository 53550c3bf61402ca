package credential_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/test/pki"
)

// TestSubjectsAreReadAsOpenSSLReadsThem creates a request and compares its subject in the output of
// openssl.
func TestSubjectsAreReadAsOpenSSLReadsThem(t *testing.T) {
	key, err := credential.GenerateKey(credential.DefaultKeyType)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		subject string
		// want is the output of openssl. "" means the subject itself.
		want string
	}{
		"one attribute":               {subject: "CN=orders"},
		"the most specific first":     {subject: "CN=orders,OU=second,OU=first,O=Example,L=Berlin,ST=Berlin,C=DE"},
		"two attributes in one part":  {subject: "CN=orders+OU=shop,O=Example"},
		"domain components and a UID": {subject: "UID=7,DC=example,DC=com"},
		"small letters and blanks":    {subject: " cn = orders , o=Example ", want: "CN=orders,O=Example"},
		"an e-mail address": {
			subject: "E=team@example.com,CN=orders",
			want:    "emailAddress=team@example.com,CN=orders",
		},
		"escaped characters":              {subject: `CN=a\,b\+c\"d\\e\<f\>g\;h`},
		"escaped blanks at the ends":      {subject: `CN=\  a b \ `},
		"a number sign":                   {subject: `CN=\#1#2`},
		"letters beyond ASCII":            {subject: "CN=Müller"},
		"letters as hexadecimal":          {subject: `CN=M\C3\BCller`, want: "CN=Müller"},
		"an attribute by its number":      {subject: "1.2.3.4=#130178"},
		"a named attribute by its number": {subject: "2.5.4.3=orders", want: "CN=orders"},
		"an equals sign in a value":       {subject: "CN=a=b"},
		"as keytool asks for it": {
			subject: `CN=orders, OU=Shop, O="Example, Inc.", L=Berlin, S=Berlin, C=DE`,
			want:    `CN=orders,OU=Shop,O=Example\, Inc.,L=Berlin,ST=Berlin,C=DE`,
		},
		"quotation marks as Windows doubles them": {
			subject: `CN="a ""b"" c",O="d+OU=e"+OU=f`, want: `CN=a \"b\" c,O=d\+OU=e+OU=f`,
		},
		"escapes and blanks in quotes": {subject: `CN=" a\"b\\ ",O="#1"`, want: `CN=\ a\"b\\\ ,O=\#1`},
		"as guides for PSD2 write it": {
			subject: "CN=bank,OID.2.5.4.97=PSDDE-BAFIN-123456,O=Bank,postalCode=10115,C=DE",
			want:    "CN=bank,organizationIdentifier=PSDDE-BAFIN-123456,O=Bank,postalCode=10115,C=DE",
		},
		"an organization identifier by name": {subject: "organizationIdentifier=PSDDE-BAFIN-123456"},
		"other names of Windows and OpenSSL": {
			subject: "SERIALNUMBER=1,G=Ann,SN=Lee,T=Dr,STREETADDRESS=Road 1,businessCategory=Private",
			want:    "serialNumber=1,GN=Ann,SN=Lee,title=Dr,street=Road 1,businessCategory=Private",
		},
		"their long names": {
			subject: "EMAIL=a@example.com,givenName=Ann,surname=Lee,title=Dr,GN=Bo",
			want:    "emailAddress=a@example.com,GN=Ann,SN=Lee,title=Dr,GN=Bo",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			request, err := credential.NewRequest(credential.Identity{Subject: test.subject})
			if err != nil {
				t.Fatal(err)
			}
			_, csr, err := request.Encode(key)
			if err != nil {
				t.Fatal(err)
			}
			output, ok := openssl(t, "req", "-noout", "-subject", "-nameopt", "RFC2253,-esc_msb", "-in",
				write(t, "csr.pem", csr))
			if !ok {
				t.Fatal(output)
			}
			want := test.want
			if want == "" {
				want = test.subject
			}
			if diff := cmp.Diff("subject="+want, strings.TrimSuffix(output, "\n")); diff != "" {
				t.Errorf("(-want +openssl):\n%s", diff)
			}
		})
	}
}

func TestRequestsAreRefusedWithAllProblems(t *testing.T) {
	tests := map[string]struct {
		identity credential.Identity
		want     string
	}{
		"nobody": {
			want: "the certificate needs at least one name: specify a subject, DNS name, URI, email address or IP address",
		},
		"the form of openssl": {
			credential.Identity{Subject: "/CN=orders/C=DE"},
			"subject: has the syntax of OpenSSL's -subj; use commas, with the most specific part first, as " +
				"in CN=orders,O=Example,C=DE",
		},
		"no attribute": {
			credential.Identity{Subject: "CN=a,b"},
			`subject: "b" is not an attribute: write NAME=VALUE, as in CN=orders; escape a comma in a value as \,`,
		},
		"an empty part": {
			credential.Identity{Subject: "CN=a,"},
			`subject: "" is not an attribute: write NAME=VALUE, as in CN=orders; escape a comma in a value as \,`,
		},
		"an unknown attribute": {
			credential.Identity{Subject: "X=1"},
			`subject: "X" is not a known attribute: use CN, OU, O, L, ST, STREET, postalCode, C, DC, UID, ` +
				`serialNumber, organizationIdentifier, emailAddress, or a dotted OID`,
		},
		"a number that is no OID": {
			credential.Identity{Subject: "7=1"},
			`subject: "7" is not a known attribute: use CN, OU, O, L, ST, STREET, postalCode, C, DC, UID, ` +
				`serialNumber, organizationIdentifier, emailAddress, or a dotted OID`,
		},
		"no value": {
			credential.Identity{Subject: "CN="},
			"subject: CN has no value: remove it, or specify a value",
		},
		"a quotation mark in a value": {
			credential.Identity{Subject: `CN=a"b`}, `subject: CN: '"' must be escaped as \"`,
		},
		"a quotation mark that is not closed": {
			credential.Identity{Subject: `CN="a,O=b`},
			`subject: CN: the quotation mark at the start is not closed; close it, or escape it as \"`,
		},
		"text behind a quoted value": {
			credential.Identity{Subject: `CN="a" b`},
			"subject: CN: text follows the closing quotation mark; quote the whole value",
		},
		"IP addresses as DNS names": {
			credential.Identity{DNSNames: []string{"192.0.2.1", "[2001:DB8::1]"}},
			`"192.0.2.1" is an IP address and not a DNS name: servers compare the two kinds apart, so request it as an ` +
				`IP address (--ip 192.0.2.1)` + "\n" +
				`"[2001:DB8::1]" is an IP address and not a DNS name: servers compare the two kinds apart, so request it as ` +
				`an IP address (--ip 2001:db8::1)`,
		},
		"a DNS name beyond ASCII": {
			credential.Identity{DNSNames: []string{"Bücher.example"}},
			`the DNS name "Bücher.example" has non-ASCII characters; write its punycode form "xn--bcher-kva.example"`,
		},
		"what is no IP address": {
			credential.Identity{IPAddresses: []string{"192.0.2", "fe80::1%eth0"}},
			`"192.0.2" is not an IP address, for example 192.0.2.1 or 2001:db8::1` + "\n" +
				`"fe80::1%eth0" is not an IP address, for example 192.0.2.1 or 2001:db8::1`,
		},
		"a backslash at the end": {
			credential.Identity{Subject: `CN=a\`},
			`subject: CN: a backslash at the end must be escaped as \\`,
		},
		"a backslash before any": {
			credential.Identity{Subject: `CN=a\x`},
			`subject: CN: a backslash must precede a special character or two hexadecimal digits; escape ` +
				`the backslash itself as \\`,
		},
		"bytes that are no UTF-8": {credential.Identity{Subject: `CN=\FF`}, "subject: CN is not UTF-8"},
		"a control character": {
			credential.Identity{Subject: `CN=a\0Ab`},
			"subject: CN has a control character, which CAs reject",
		},
		"invalid binary": {
			credential.Identity{Subject: "CN=#1"},
			`subject: CN: the text after # is not DER in hexadecimal; escape a # at the start of a value as \#`,
		},
		"binary with more behind": {
			credential.Identity{Subject: "CN=#13017800"},
			`subject: CN: the text after # is not DER in hexadecimal; escape a # at the start of a value as \#`,
		},
		"a long name": {
			credential.Identity{Subject: "CN=" + strings.Repeat("ü", 65)},
			"subject: CN has 65 characters; X.509 allows 64",
		},
		"a domain beyond ASCII": {
			credential.Identity{Subject: "DC=ü"},
			"subject: DC has non-ASCII characters, which are not allowed",
		},
		"a URI without a scheme": {
			credential.Identity{URIs: []string{"example.com/x"}},
			`"example.com/x" is not a URI: it must have a scheme and a host in ASCII, for example ` +
				`spiffe://example.com/orders`,
		},
		"a URI in capitals": {
			credential.Identity{URIs: []string{"SPIFFE://example.com/x"}},
			`the URI "SPIFFE://example.com/x" would be in the certificate as "spiffe://example.com/x": write it so`,
		},
		"the header of a partner": {
			credential.Identity{URIs: []string{"x:;URI=spiffe://example.com/orders", `x:"`}},
			`the URI "x:;URI=spiffe://example.com/orders" has a semicolon or a quotation mark, so gateways that ` +
				`write it into a header read it as several URIs: remove it` + "\n" +
				`the URI "x:\"" has a semicolon or a quotation mark, so gateways that write it into a header read it ` +
				`as several URIs: remove it`,
		},
		"a semicolon in an e-mail address": {
			credential.Identity{Emails: []string{"a;b@example.com"}},
			`"a;b@example.com" is not an ASCII email address, for example team@example.com`,
		},
		"quotation marks in an e-mail address": {
			credential.Identity{Emails: []string{`"a;b"@example.com`}},
			`"\"a;b\"@example.com" is not an ASCII email address, for example team@example.com`,
		},
		"a semicolon in a DNS name": {
			credential.Identity{DNSNames: []string{"a;b"}},
			`"a;b" is not a DNS name: it must have labels of letters, digits and inner hyphens, for ` +
				`example orders.example.com`,
		},
		"a name as e-mail address": {
			credential.Identity{Emails: []string{"Team <team@example.com>"}},
			`"Team <team@example.com>" is not an ASCII email address, for example team@example.com`,
		},
		"everything at once": {
			credential.Identity{
				Subject:  "C=Germany,C=de,X=1",
				DNSNames: []string{"a b"},
				URIs:     []string{":"},
				Emails:   []string{"x"},
			},
			`subject: C is "Germany": a country has two capital letters (ISO 3166), for example DE` + "\n" +
				`subject: C is "de": a country has two capital letters (ISO 3166), for example DE` + "\n" +
				`subject: "X" is not a known attribute: use CN, OU, O, L, ST, STREET, postalCode, C, DC, UID, ` +
				`serialNumber, organizationIdentifier, emailAddress, or a dotted OID` + "\n" +
				`"a b" is not a DNS name: it must have labels of letters, digits and inner hyphens, for ` +
				`example orders.example.com` + "\n" +
				`":" is not a URI: it must have a scheme and a host in ASCII, for example spiffe://example.com/orders` +
				"\n" +
				`"x" is not an ASCII email address, for example team@example.com`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := credential.NewRequest(test.identity)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRequestIsSignedByOpenSSLAndCompleted covers the whole workflow for every key type: our
// request, a partner's CA with openssl, and the credential. The certificate contains all requested
// names.
func TestRequestIsSignedByOpenSSLAndCompleted(t *testing.T) {
	ca := pki.NewCA(t, "Partner CA")
	caFile, caKey := write(t, "ca.pem", ca.CertPEM), write(t, "ca.key", ca.KeyPEM)
	for _, keyType := range credential.KeyTypes() {
		t.Run(keyType, func(t *testing.T) {
			request, err := credential.NewRequest(credential.Identity{
				Subject:     "CN=orders,O=Example,C=DE",
				DNSNames:    []string{"Orders.example.com"},
				URIs:        []string{"spiffe://example.com/orders"},
				Emails:      []string{"team@example.com"},
				IPAddresses: []string{"192.0.2.1", "::ffff:192.0.2.2", "2001:db8::1"},
			})
			if err != nil {
				t.Fatal(err)
			}
			if findings := request.Findings(); findings != nil {
				t.Errorf("a request with names has findings: %v", findings)
			}
			key, err := credential.GenerateKey(keyType)
			if err != nil {
				t.Fatal(err)
			}
			keyPEM, csr, err := request.Encode(key)
			if err != nil {
				t.Fatal(err)
			}
			csrFile, signed := write(t, "csr.pem", csr), filepath.Join(t.TempDir(), "signed.pem")
			if output, ok := openssl(t, "req", "-verify", "-noout", "-in", csrFile); !ok {
				t.Fatal(output)
			}
			if output, ok := openssl(t, "x509", "-req", "-in", csrFile, "-CA", caFile, "-CAkey", caKey, "-set_serial",
				"26", "-days", "100", "-copy_extensions", "copyall", "-out", signed); !ok {
				t.Fatal(output)
			}
			certificates, err := credential.ReadCertificates("signed.pem", must[[]byte](t)(os.ReadFile(signed)))
			if err != nil {
				t.Fatal(err)
			}
			read, err := credential.ReadPrivateKey("key.pem", keyPEM)
			if err != nil {
				t.Fatal(err)
			}
			assembled, err := credential.Assemble(
				credential.Bundle{PrivateKey: read, Certificates: append(certificates, ca.Certificate)}, credential.Authorities{},
				withoutCA(credential.CertKeyLayout()), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			got := *assembled.Credential
			want := credential.Credential{
				Subject:      "CN=orders,O=Example,C=DE",
				Issuer:       "CN=Partner CA",
				SerialNumber: "1a",
				NotBefore:    got.NotBefore,
				NotAfter:     got.NotAfter,
				SHA256:       got.SHA256,
				DNSNames: []string{
					"orders.example.com",
				},
				URIs:        []string{"spiffe://example.com/orders"},
				Emails:      []string{"team@example.com"},
				IPAddresses: []string{"192.0.2.1", "192.0.2.2", "2001:db8::1"},
				ChainLength: 1,
				KeyType:     keyType,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(assembled.Findings) > 0 {
				t.Errorf("findings: %v", assembled.Findings)
			}
			if output, ok := openssl(t, "verify", "-purpose", "sslclient", "-CAfile", caFile, signed); !ok {
				t.Error(output)
			}
		})
	}
}

func TestRequestWithoutNamesIsDoubted(t *testing.T) {
	request, err := credential.NewRequest(credential.Identity{Subject: "CN=orders"})
	if err != nil {
		t.Fatal(err)
	}
	want := []credential.Finding{
		{
			Severity: credential.Warning,
			Reason:   credential.NoSubjectAltName,
			Message: "the request has no subject alternative name: partners that check names, such " +
				"as Istio's gateway with subjectAltNames, use these and not the CN; add a DNS name or URI, unless " +
				"the partner checks the subject",
		},
	}
	if diff := cmp.Diff(want, request.Findings()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUnknownKeyTypesAreRefused(t *testing.T) {
	_, err := credential.GenerateKey("rsa-1024")
	if want := `"rsa-1024" is not a key type: use one of ecdsa-p256, ecdsa-p384, ` +
		`rsa-2048, rsa-3072, rsa-4096`; err == nil ||
		err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestReadsCertificateFilesOfEveryForm(t *testing.T) {
	ca := pki.NewCA(t, "Partner CA")
	client := ca.Issue(t, orders())
	tests := map[string]struct {
		content []byte
		want    int
		err     string
	}{
		"PEM": {
			content: append(append([]byte("text\n"), client.CertPEM...), ca.CertPEM...),
			want:    2,
		},
		"DER": {content: client.Certificate.Raw, want: 1},
		"two in DER": {
			content: append(append([]byte{}, client.Certificate.Raw...), ca.Certificate.Raw...),
			want:    2,
		},
		"DER of another kind": {
			content: must[[]byte](t)(x509.MarshalPKCS8PrivateKey(client.Key)),
			err: `"signed.cer" (client certificate) is DER, but neither a certificate nor PKCS#7 (.p7b); ` +
				`request the certificate as PEM`,
		},
		"a request": {
			content: block("CERTIFICATE REQUEST", []byte{0}),
			err: `"signed.cer" (client certificate) holds no certificate but a certificate request: store the ` +
				`certificate that the CA issued for it`,
		},
		"PKCS#7": {
			content: block("PKCS7", []byte{0}),
			err: `"signed.cer" (client certificate) is PKCS#7 (.p7b), but holds no readable certificate; ` +
				`check it with openssl pkcs7 -print_certs, and request the certificate as PEM`,
		},
		"a certificate, then junk": {
			content: append(append([]byte{}, client.CertPEM...), block("CERTIFICATE", []byte{0})...),
			err: `"signed.cer" (client certificate): certificate 2 of 2 cannot be read: ` +
				`x509: malformed certificate`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			certificates, err := credential.ReadCertificates("signed.cer", test.content)
			message := ""
			if err != nil {
				message = err.Error()
			}
			if len(certificates) != test.want || message != test.err {
				t.Errorf("%d certificates and %q, want %d and %q", len(certificates), message, test.want, test.err)
			}
		})
	}
}

// TestChainsAreBounded checks the limit for chains. Every certificate of a chain can be the issuer
// of every other one, so the number of signatures grows with the square of their number. The CA
// certificates of a server are independent, and public bundles have more than a hundred.
func TestChainsAreBounded(t *testing.T) {
	ca := pki.NewCA(t, "Partner CA")
	client := ca.Issue(t, orders())
	rest := func(n int) []byte { return bytes.Repeat(ca.CertPEM, n) }
	der := func(n int) []byte { return slices.Concat(client.Certificate.Raw, bytes.Repeat(ca.Certificate.Raw, n)) }
	pfx := func(n int) []byte {
		return must[[]byte](t)(
			pkcs12.Modern2023.Encode(client.Key, client.Certificate,
				slices.Repeat([]*x509.Certificate{ca.Certificate}, n), password),
		)
	}
	judged := func(cert, cacert []byte) error {
		_, err := credential.Check(map[string][]byte{"cert": cert, "key": client.KeyPEM, "cacert": cacert},
			credential.CertKeyLayout(), now())
		return err
	}
	errorOf := func(_ any, err error) error { return err }
	const many = `101 certificates: the limit for a chain is 100; keep only the client certificate ` +
		`and its chain to the root`
	tests := map[string]struct {
		err  error
		want string
	}{
		"a hundred in a Secret": {judged(slices.Concat(client.CertPEM, rest(99)), ca.CertPEM), ""},
		"more in a Secret": {
			judged(slices.Concat(client.CertPEM, rest(100)), ca.CertPEM),
			`"cert" (client certificate) holds ` + many,
		},
		"more in the CA of the server": {judged(client.CertPEM, rest(200)), ""},
		"a hundred in a file": {
			errorOf(credential.MaterialOfCertificates("f.pem", slices.Concat(client.CertPEM, rest(99)))),
			"",
		},
		"more in a file": {
			errorOf(credential.MaterialOfCertificates("f.pem", slices.Concat(client.CertPEM, rest(100)))),
			`"f.pem" (client certificate) holds ` + many,
		},
		"a hundred in DER": {errorOf(credential.MaterialOfCertificates("f.cer", der(99))), ""},
		"more in DER": {
			errorOf(credential.MaterialOfCertificates("f.cer", der(100))),
			`"f.cer" (client certificate) holds ` + many,
		},
		"a hundred in PKCS#12": {errorOf(credential.MaterialOfPKCS12(pfx(99), password)), ""},
		"more in PKCS#12": {
			errorOf(credential.MaterialOfPKCS12(pfx(100), password)),
			`the file holds ` + many,
		},
		"more in a bundle that is assembled": {
			errorOf(
				credential.Arrange(
					credential.Bundle{PrivateKey: client.Key,
						Certificates: slices.Repeat([]*x509.Certificate{ca.Certificate}, 101)},
				),
			),
			`there are ` + many,
		},
		"more in a file of issuers": {errorOf(credential.ReadIssuers("f.pem", rest(101))), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			message := ""
			if test.err != nil {
				message = test.err.Error()
			}
			if diff := cmp.Diff(test.want, message); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParseSubject(f *testing.F) {
	for _, subject := range []string{"CN=orders,O=Example,C=DE", `CN=\  a \,+OU=\C3\BC`, "1.2.3=#130178", "DC=a,DC=b",
		"E=x@y"} {
		f.Add(subject)
	}
	key, err := credential.GenerateKey(credential.DefaultKeyType)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		request, err := credential.NewRequest(credential.Identity{Subject: subject})
		if err != nil {
			return
		}
		_, csr, err := request.Encode(key)
		if err != nil {
			t.Fatalf("%q was read, but not written: %v", subject, err)
		}
		decoded, _ := pem.Decode(csr)
		parsed, err := x509.ParseCertificateRequest(decoded.Bytes)
		if err != nil {
			// Go supports neither OIDs with more than 31 bits nor strings of unknown types, which
			// users can specify in binary.
			if strings.ContainsAny(subject, "#.") {
				return
			}
			t.Fatalf("%q became a request that can't be read: %v", subject, err)
		}
		again, err := credential.ParseSubject(credential.DistinguishedName(parsed.RawSubject))
		if err != nil || string(again) != string(parsed.RawSubject) {
			if strings.Contains(subject, "#") {
				return
			}
			t.Errorf("%q became %q, which became %x, %v", subject, credential.DistinguishedName(parsed.RawSubject),
				again, err)
		}
	})
}
