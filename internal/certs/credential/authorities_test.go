package credential_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/test/pki"
)

// opensslCA returns a CA certificate that OpenSSL makes with the given arguments, as PEM.
func opensslCA(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	args = append([]string{"req", "-x509", "-nodes", "-keyout", os.DevNull, "-out", file, "-subj", "/CN=" + name,
		"-days", "36500"}, args...)
	if output, ok := openssl(t, args...); !ok {
		t.Fatal(output)
	}
	return must[[]byte](t)(os.ReadFile(file))
}

func curve(name string) []string {
	return []string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:" + name}
}

// TestASetOfCAsIsUsedWithoutItsUnreadableMembers uses the certificates that Envoy 1.40 loads from a
// file of CAs although crypto/x509 can't read them, and those for which Envoy refuses the file.
func TestASetOfCAsIsUsedWithoutItsUnreadableMembers(t *testing.T) {
	good := pki.NewCA(t, "Partner CA").CertPEM
	brainpool := opensslCA(t, "Brainpool CA", curve("brainpoolP256r1")...)
	koblitz := opensslCA(t, "Koblitz CA", curve("secp256k1")...)
	negative := opensslCA(t, "Negative CA", append(curve("P-256"), "-set_serial", "-5")...)
	garbage := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{0x30, 0}})
	large := pki.NewCA(t, "Large CA").Issue(t, pki.Template{
		Subject: pki.Client("large").Subject, DNSNames: slices.Repeat([]string{strings.Repeat("a", 60) + ".example"}, 1000),
	}).CertPEM
	skipped := func(which, why string) credential.Finding {
		return credential.Finding{Severity: credential.Warning, Reason: credential.ServerCASkipped,
			Message: `"ca.pem" (CA of the server): certificate ` + which + " is skipped, because it " + why +
				"; if it signs the server's certificate, ask the partner for a CA with an RSA key or a key on P-256 or " +
				"P-384; otherwise remove it"}
	}
	const unknownCurve = "cannot be read: x509: unsupported elliptic curve"
	tests := map[string]struct {
		content []byte
		read    int
		skipped []credential.Finding
		err     string
	}{
		"all are readable": {content: slices.Concat(good, negative), read: 2},
		"an unknown curve first": {
			content: slices.Concat(brainpool, good), read: 1,
			skipped: []credential.Finding{skipped(`1 of 2 (subject "CN=Brainpool CA")`, unknownCurve)},
		},
		"two unknown curves": {
			content: slices.Concat(brainpool, good, koblitz), read: 1,
			skipped: []credential.Finding{
				skipped(`1 of 3 (subject "CN=Brainpool CA")`, unknownCurve),
				skipped(`3 of 3 (subject "CN=Koblitz CA")`, unknownCurve),
			},
		},
		"a large one": {
			content: slices.Concat(good, large), read: 1,
			skipped: []credential.Finding{skipped(`2 of 2 (subject "CN=large")`,
				"has "+sizeOf(large)+" bytes; at most 65536 are read: have it issued with fewer names or extensions")},
		},
		"only an unknown curve": {
			content: brainpool,
			err: `"ca.pem" (CA of the server) holds no certificate that can be read: certificate 1 of 1 (subject ` +
				`"CN=Brainpool CA") ` + unknownCurve + `; ask the partner for a CA with an RSA key or a key on P-256 or P-384`,
		},
		"one that the sidecar refuses too": {
			content: slices.Concat(good, garbage, brainpool),
			err: `"ca.pem" (CA of the server): certificate 2 of 3 cannot be read: x509: malformed tbs certificate; the ` +
				`sidecar refuses the whole file with it, so remove it or fetch it again`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			authorities, err := credential.ReadServerCA("ca.pem", test.content)
			message := ""
			if err != nil {
				message = err.Error()
			}
			if message != test.err || len(authorities.Certificates) != test.read {
				t.Errorf("%d certificates, error %q; want %d and %q", len(authorities.Certificates), message, test.read, test.err)
			}
			if diff := cmp.Diff(test.skipped, authorities.Skipped); diff != "" {
				t.Errorf("skipped (-want +got):\n%s", diff)
			}
		})
	}
}

func sizeOf(certificate []byte) string {
	block, _ := pem.Decode(certificate)
	return strconv.Itoa(len(block.Bytes))
}

// TestSkippedCAsStayInTheSecret checks that the Secret has all CAs of the file, and that it is
// usable.
func TestSkippedCAsStayInTheSecret(t *testing.T) {
	ca := pki.NewCA(t, "Issuer of clients")
	client := ca.Issue(t, orders())
	file := slices.Concat(opensslCA(t, "Brainpool CA", curve("brainpoolP256r1")...), pki.NewCA(t, "Partner CA").CertPEM)
	authorities := must[credential.Authorities](t)(credential.ReadServerCA("server-ca.pem", file))
	bundle := credential.Bundle{
		PrivateKey: client.Key, Certificates: []*x509.Certificate{client.Certificate, ca.Certificate},
	}
	assembled, err := credential.Assemble(bundle, authorities, credential.CertKeyLayout(), now())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(assembled.Data["cacert"], file) {
		t.Errorf("the CA of the server is\n%s\nwant\n%s", assembled.Data["cacert"], file)
	}
	if !slices.ContainsFunc(assembled.Findings, func(f credential.Finding) bool {
		return f.Reason == credential.ServerCASkipped
	}) {
		t.Errorf("no finding about the skipped CA: %+v", assembled.Findings)
	}
}

// TestANegativeSerialNumberIsShown checks the number as OpenSSL writes it.
func TestANegativeSerialNumberIsShown(t *testing.T) {
	content := opensslCA(t, "Negative CA", append(curve("P-256"), "-set_serial", "-5")...)
	material, err := credential.MaterialOfCertificates("ca.pem", content)
	if err != nil {
		t.Fatal(err)
	}
	if got := material.Inspect(now()).Chain[0].SerialNumber; got != "-05" {
		t.Errorf("serial number %s, want -05", got)
	}
}

// TestExtraCertificatesThatCannotBeReadAreSkipped reads a file with issuers of a client
// certificate.
func TestExtraCertificatesThatCannotBeReadAreSkipped(t *testing.T) {
	good := pki.NewCA(t, "Issuer of clients").CertPEM
	brainpool := opensslCA(t, "Brainpool CA", curve("brainpoolP256r1")...)
	const which = `certificate 2 of 3 (subject "CN=Brainpool CA")`
	const unknownCurve = "cannot be read: x509: unsupported elliptic curve"
	again := func(which, why string) credential.Finding {
		return credential.Finding{Severity: credential.Warning, Reason: credential.CertificateSkipped,
			Message: `"chain.pem" (client certificate): ` + which + " is skipped, because it " + why + "; if it belongs to " +
				"the chain of the client certificate, request it again from the issuer"}
	}
	certificates, skipped, err := credential.ReadChain("chain.pem",
		slices.Concat(good, brainpool, block("CERTIFICATE", []byte{0x30, 0})))
	if err != nil || len(certificates) != 1 {
		t.Fatalf("%d certificates, error %v", len(certificates), err)
	}
	want := []credential.Finding{again(which, unknownCurve),
		again("certificate 3 of 3", "cannot be read: x509: malformed tbs certificate")}
	if diff := cmp.Diff(want, skipped); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, _, err = credential.ReadChain("chain.pem", brainpool)
	const none = `"chain.pem" (client certificate): certificate 1 of 1 (subject "CN=Brainpool CA") ` + unknownCurve
	if err == nil || err.Error() != none {
		t.Errorf("error %v, want %s", err, none)
	}
}

// TestACrossCertificateBelongsToTheChain checks files with the root and with the certificate that
// an older root issued for its key.
func TestACrossCertificateBelongsToTheChain(t *testing.T) {
	root, older := pki.NewCA(t, "Root"), pki.NewCA(t, "Older Root")
	issuing := root.Intermediate(t, "Issuing")
	named := orders()
	named.DNSNames = []string{"orders.example.com"}
	leaf := issuing.Issue(t, named).Certificate
	crossed := authority("Root", 5)
	crossed.Key = root.Key
	cross := older.Issue(t, crossed).Certificate
	for name, rest := range map[string][]*x509.Certificate{
		"before the root":                  {cross, root.Certificate},
		"after the root":                   {root.Certificate, cross},
		"with the older root":              {cross, older.Certificate, root.Certificate},
		"without the root":                 {cross},
		"without the root, with the older": {cross, older.Certificate},
	} {
		t.Run(name, func(t *testing.T) {
			chain := credential.Chain{Certificates: append([]*x509.Certificate{leaf, issuing.Certificate}, rest...)}
			if findings := credential.Review(chain, credential.Authorities{}, now()); len(findings) > 0 {
				t.Errorf("%+v", findings)
			}
		})
	}
}

// TestTheCAOfTheServerIsReviewed checks what inspect and the status say of the CA of a server.
func TestTheCAOfTheServerIsReviewed(t *testing.T) {
	ending := func(name string, serial int64, left time.Duration) pki.Template {
		template := authority(name, serial)
		template.NotAfter = now().Add(left)
		return template
	}
	const day = 24 * time.Hour
	soon, later := pki.SelfSigned(t, ending("Soon", 1, 3*day)), pki.SelfSigned(t, ending("Later", 2, 300*day))
	over := pki.SelfSigned(t, ending("Over", 3, -day))
	server := numbered(4)
	server.Subject.CommonName, server.NotAfter = "external.system.com", now().Add(200*day)
	leaf, alone := later.Issue(t, server), pki.SelfSigned(t, server)
	const notCA = `the CA of the server is not a CA but the certificate of a server (subject "CN=external.system.com", ` +
		`serial 04): calls succeed only while the server presents this very certificate, and fail after the partner ` +
		`renews it; ask the partner for `
	tests := map[string]struct {
		file     [][]byte
		subject  string
		findings map[credential.Reason]string
	}{
		"far from its end": {file: [][]byte{later.CertPEM}, subject: "CN=Later"},
		"three days left": {
			file: [][]byte{soon.CertPEM}, subject: "CN=Soon",
			findings: map[credential.Reason]string{
				credential.ServerCAExpiresSoon: "the CA of the server expires on 2026-07-04T12:00:00Z (subject \"CN=Soon\", " +
					"serial 01): 3 days left; ask the partner for the current one",
			},
		},
		"the next one is there":      {file: [][]byte{soon.CertPEM, later.CertPEM}, subject: "CN=Later"},
		"one that has expired too":   {file: [][]byte{over.CertPEM, later.CertPEM}, subject: "CN=Later"},
		"a CA and what it issued":    {file: [][]byte{leaf.CertPEM, later.CertPEM}, subject: "CN=Later"},
		"expired, which has refusal": {file: [][]byte{over.CertPEM}, subject: "CN=Over"},
		"the certificate of the server": {
			file: [][]byte{leaf.CertPEM}, subject: "CN=external.system.com",
			findings: map[credential.Reason]string{
				credential.ServerCANotCA: notCA + `the certificate of its issuer "CN=Later"`,
			},
		},
		"the certificate of the server, self-signed": {
			file: [][]byte{alone.CertPEM}, subject: "CN=external.system.com",
			findings: map[credential.Reason]string{
				credential.ServerCANotCA: notCA + "a CA certificate, or for each new certificate before the server presents it",
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			content := slices.Concat(test.file...)
			configMap := &corev1.ConfigMap{Data: map[string]string{"ca.pem": string(content)}}
			described, _ := credential.CheckConfigMap(configMap, "ca.pem", now())
			if described == nil || described.Subject != test.subject {
				t.Errorf("described as %+v, want %s", described, test.subject)
			}
			authorities := must[credential.Authorities](t)(credential.ReadServerCA("ca.pem", content))
			got := map[credential.Reason]string{}
			for _, finding := range credential.Review(credential.Chain{}, authorities, now()) {
				got[finding.Reason] = finding.Message
			}
			if diff := cmp.Diff(test.findings, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
