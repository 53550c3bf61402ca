package credential_test

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/test/encodings"
)

// TestReadsPKCS7 reads the bundles that Windows, Java and Active Directory Certificate Services
// write. The certificates in them have no order, so the leaf comes first.
func TestReadsPKCS7(t *testing.T) {
	read := func(name string) []byte { return must[[]byte](t)(os.ReadFile("testdata/keystores/" + name)) }
	bundle := read("bundle.p7b")
	subjects := []string{"CN=orders,O=Example", "CN=Partner Client CA,O=Partner", "CN=Partner Root,O=Partner"}
	for name, test := range map[string]struct {
		content []byte
		want    []string
		err     string
	}{
		"in DER":              {content: bundle, want: subjects},
		"in PEM":              {content: read("bundle-pem.p7b"), want: subjects},
		"under CERTIFICATE":   {content: read("bundle-adcs.cer"), want: subjects},
		"with text before it": {content: slices.Concat([]byte("Bag\n"), read("bundle-pem.p7b")), want: subjects},
		"in BER, as Java":     {content: ber{indefinite: true}.encode(t, bundle), want: subjects},
		"with line breaks CR LF": {
			content: bytes.ReplaceAll(read("bundle-adcs.cer"), []byte("\n"), []byte("\r\n")),
			want:    subjects,
		},
		"in PEM, as PowerShell writes it": {
			content: encodings.Of(string(read("bundle-pem.p7b")))["UTF-16 LE with a mark, CR and LF"],
			want:    subjects,
		},
		"without a certificate": {
			content: read("bundle-empty.p7b"),
			err: `"f" (client certificate) is PKCS#7 (.p7b), but holds no readable certificate; check it with openssl ` +
				"pkcs7 -print_certs, and request the certificate as PEM",
		},
		"truncated": {
			content: bundle[:len(bundle)-9],
			err: `"f" (client certificate) is PKCS#7 (.p7b), but holds no readable certificate; check it with openssl ` +
				"pkcs7 -print_certs, and request the certificate as PEM",
		},
	} {
		t.Run(name, func(t *testing.T) {
			certificates, err := credential.ReadCertificates("f", test.content)
			message := ""
			if err != nil {
				message = err.Error()
			}
			var got []string
			for _, certificate := range certificates {
				got = append(got, credential.DistinguishedName(certificate.RawSubject))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.err, message); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if err == nil {
				inspection := must[*credential.Inspection](t)(looked(credential.MaterialOfCertificates("f",
					test.content)))
				if len(inspection.Chain) != len(subjects) || !inspection.Chain[0].IssuedByNext {
					t.Errorf("inspect shows another chain: %+v", inspection.Chain)
				}
			}
		})
	}
}

// TestInspectReportsUnusableKeysAsFindings checks files that can be read, but not used.
func TestInspectReportsUnusableKeysAsFindings(t *testing.T) {
	read := func(name string) []byte { return must[[]byte](t)(os.ReadFile("testdata/keystores/" + name)) }
	const another = "ask the issuer for a certificate with an RSA or ECDSA P-256 key"
	pkcs12 := func(name string) (*credential.Material, error) {
		return credential.MaterialOfPKCS12(read(name), "changeit")
	}
	inPEM := func(name string) (*credential.Material, error) {
		output, ok := openssl(t, "pkcs12", "-in", "testdata/keystores/"+name, "-nodes", "-passin", "pass:changeit")
		if !ok {
			t.Skip(output)
		}
		return credential.MaterialOfCertificates("f", []byte(output))
	}
	unreadable := func(message string) credential.Finding {
		return credential.Finding{Severity: credential.Refused, Reason: credential.PrivateKeyUnreadable,
			Message: message}
	}
	for name, test := range map[string]struct {
		file string
		read func(string) (*credential.Material, error)
		want credential.Finding
	}{
		"brainpool, PKCS#12": {
			"key-ec-brainpoolp256r1.p12", pkcs12,
			unreadable("its private key is an ECDSA key on the curve brainpoolP256r1, which the sidecar doesn't support: " +
				another),
		},
		"brainpool, PEM": {
			"key-ec-brainpoolp256r1.p12", inPEM,
			unreadable(`"f" (private key) is an ECDSA key on the curve brainpoolP256r1, which the sidecar doesn't ` +
				"support: " + another),
		},
		"Ed448, PKCS#12": {
			"key-ed448.p12", pkcs12,
			unreadable("its private key is an Ed448 key, which the sidecar doesn't support: " + another),
		},
		"Ed448, PEM": {
			"key-ed448.p12", inPEM,
			unreadable(`"f" (private key) is an Ed448 key, which the sidecar doesn't support: ` + another),
		},
		"RSASSA-PSS, PEM": {
			"key-rsa-pss.p12", inPEM,
			unreadable(`"f" (private key) is an RSASSA-PSS key, which the sidecar doesn't support: ` + another),
		},
	} {
		t.Run(name, func(t *testing.T) {
			material, err := test.read(test.file)
			inspection := must[*credential.Inspection](t)(looked(material, err))
			if !inspection.Refused() || !slices.Contains(inspection.Findings, test.want) {
				t.Errorf("%+v, want %+v", inspection.Findings, test.want)
			}
		})
	}
}
