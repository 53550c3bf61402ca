package credential_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/test/pki"
)

// canary represents key material. It is random, so that no part of it is in a message by chance.
const canary = "Zx81QvTg0mPw7KdRy5uJb3HsXc9NeFaL"

// maxMessage is an upper limit for messages in bytes. File names, subjects and lists are truncated.
const maxMessage = 3000

// checkMessage checks that a message is one line and contains no key material.
func checkMessage(tb testing.TB, message string) {
	tb.Helper()
	if message == "" || len(message) > maxMessage || !utf8.ValidString(message) ||
		strings.ContainsFunc(message, breaksLines) {
		tb.Errorf("not one line of text (%d bytes): %.1000q", len(message), message)
	}
	for window := range slices.Chunk([]byte(canary), 8) {
		for _, form := range []string{string(window), hex.EncodeToString(window)} {
			if strings.Contains(message, form) {
				tb.Errorf("key material in a message: %s", message)
			}
		}
	}
}

// breaksLines reports whether a character can break a line, move the cursor, or hide or reorder
// text: control characters (Cc), format characters (Cf) and the separators U+2028 and U+2029.
func breaksLines(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }

// withCanary returns a value unchanged, and with the canary in the middle.
func withCanary(head, tail []byte) [][]byte {
	return [][]byte{slices.Concat(head, tail), slices.Concat(head, []byte(canary), tail)}
}

// examples adds the example files as seeds.
func examples(f *testing.F, names ...string) [][]byte {
	f.Helper()
	var files [][]byte
	for _, name := range names {
		files = append(files, must[[]byte](f)(os.ReadFile(filepath.Join("../../../examples/credential", name))))
	}
	return files
}

// FuzzJudge checks that no input makes Check panic, refuse without a reason, return a message of
// more than one line, or leak key material. It fuzzes the private key, with the canary in the
// middle.
func FuzzJudge(f *testing.F) {
	ca := pki.NewCA(f, "Partner CA")
	client := ca.Issue(f, orders())
	der, _ := pem.Decode(client.KeyPEM)
	half := len(client.KeyPEM) / 2
	for _, certificate := range [][]byte{client.CertPEM, slices.Concat(client.CertPEM, ca.CertPEM),
		client.Certificate.Raw, client.KeyPEM, nil} {
		f.Add(certificate, client.KeyPEM[:half], client.KeyPEM[half:], ca.CertPEM)
	}
	f.Add(client.CertPEM, der.Bytes[:20], der.Bytes[20:], []byte("x"))
	f.Add(client.CertPEM, []byte("-----BEGIN "), []byte("-----\nAA==\n-----END PRIVATE KEY-----\n"), ca.Certificate.Raw)
	f.Add(client.CertPEM, []byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: "),
		[]byte("\n\nAA==\n-----END RSA PRIVATE KEY-----\n"), []byte{})

	f.Fuzz(func(t *testing.T, certificate, head, tail, serverCA []byte) {
		for _, key := range withCanary(head, tail) {
			data := map[string][]byte{"cert": certificate, "key": key, "cacert": serverCA}
			got, err := credential.Check(data, credential.CertKeyLayout(), now())
			if err == nil {
				if got == nil || got.ChainLength < 1 || got.SHA256 == "" {
					t.Fatalf("accepted without saying what: %+v", got)
				}
				continue
			}
			for _, problem := range problemsOf(t, err) {
				if problem.Reason == "" || problem.Key == "" {
					t.Errorf("not a whole problem: %+v", problem)
				}
				checkMessage(t, problem.Message)
			}
		}
	})
}

// FuzzJudgeCertificate uses a private key with the canary in place of the certificate.
func FuzzJudgeCertificate(f *testing.F) {
	f.Add("PRIVATE KEY", []byte{})
	f.Add("CERTIFICATE", []byte{0x30, 0x82})
	f.Add(canary, []byte("text"))
	f.Fuzz(func(t *testing.T, kind string, prefix []byte) {
		value := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: append(prefix, canary...)})
		_, err := credential.Check(map[string][]byte{"cert": append(prefix, canary...), "key": value, "cacert": value},
			credential.CertKeyLayout(), now())
		if err == nil || strings.Contains(err.Error(), canary[:8]) {
			t.Errorf("accepted, or key material in a message: %v", err)
		}
	})
}

// FuzzReadCertificates checks that the result is at least one certificate or an error message.
func FuzzReadCertificates(f *testing.F) {
	for _, file := range examples(f, "client.pem", "chain.pem", "client.key", "keystore.p12", "destination.json") {
		f.Add(file[:len(file)/2], file[len(file)/2:])
		if decoded, _ := pem.Decode(file); decoded != nil {
			f.Add(decoded.Bytes, []byte{})
		}
	}
	f.Add([]byte("-----BEGIN PKCS7-----\n"), []byte("-----END PKCS7-----\n"))
	f.Fuzz(func(t *testing.T, head, tail []byte) {
		for _, content := range withCanary(head, tail) {
			certificates, err := credential.ReadCertificates("client.pem", content)
			authorities, caErr := credential.ReadServerCA("client.pem", content)
			for err, read := range map[error][]*x509.Certificate{err: certificates, caErr: authorities.Certificates} {
				switch {
				case err != nil:
					checkMessage(t, err.Error())
				case len(read) == 0:
					t.Error("neither a certificate nor an error")
				}
			}
			for _, skipped := range authorities.Skipped {
				checkMessage(t, skipped.Message)
			}
		}
	})
}

// FuzzReadPrivateKey checks that a parsed key has a public key.
func FuzzReadPrivateKey(f *testing.F) {
	for _, file := range examples(f, "client.key", "client.pem", "keystore.p12") {
		f.Add(file[:len(file)/2], file[len(file)/2:])
	}
	key := must[*ecdsa.PrivateKey](f)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	for kind, der := range map[string][]byte{
		"EC PRIVATE KEY":        must[[]byte](f)(x509.MarshalECPrivateKey(key)),
		"PRIVATE KEY":           must[[]byte](f)(x509.MarshalPKCS8PrivateKey(key)),
		"ENCRYPTED PRIVATE KEY": {0},
		"OPENSSH PRIVATE KEY":   {0},
		"RSA PRIVATE KEY":       {0},
	} {
		f.Add(block(kind, der), []byte{})
	}
	f.Fuzz(func(t *testing.T, head, tail []byte) {
		for _, content := range withCanary(head, tail) {
			switch signer, err := credential.ReadPrivateKey("client.key", content); {
			case err != nil:
				checkMessage(t, err.Error())
			case signer.Public() == nil:
				t.Error("a key without its public half")
			}
		}
	})
}

// FuzzInspect checks that inspecting a Secret refuses the same as Check, with one-line messages.
// For a file, one value contains both parts.
func FuzzInspect(f *testing.F) {
	files := examples(f, "client.pem", "chain.pem", "client.key", "server-ca.pem")
	client, chain, key, serverCA := files[0], files[1], files[2], files[3]
	for _, certificate := range [][]byte{client, slices.Concat(client, chain), slices.Concat(chain, client),
		slices.Concat(client, client), slices.Concat(key, client), key} {
		f.Add(certificate, key[:len(key)/2], key[len(key)/2:], serverCA)
	}
	for _, hostile := range hostileCertificates(f) {
		f.Add(hostile.CertPEM, hostile.KeyPEM, []byte{}, serverCA)
	}
	f.Add(client, key, []byte{}, chain)
	f.Add(client, key, []byte{}, []byte{})
	if decoded, _ := pem.Decode(client); decoded != nil {
		f.Add(decoded.Bytes, key, []byte{}, serverCA)
	}
	f.Fuzz(func(t *testing.T, certificate, head, tail, serverCA []byte) {
		for _, key := range withCanary(head, tail) {
			data := map[string][]byte{"tls.crt": certificate, "tls.key": key, "ca.crt": serverCA}
			inspection, err := looked(credential.MaterialOfSecret(&corev1.Secret{Data: data}))
			if err != nil {
				t.Fatalf("the layout is known: %v", err)
			}
			layout := credential.TLSLayout()
			if len(bytes.TrimSpace(serverCA)) == 0 {
				layout.ServerCA = ""
			}
			if _, err := credential.Check(data, layout, now()); (err != nil) != inspection.Refused() {
				t.Errorf("the judgement says %v, the inspection %+v", err, inspection.Findings)
			}
			checkInspection(t, inspection)
			if inspection, err := looked(
				credential.MaterialOfCertificates("client.pem", slices.Concat(certificate, key))); err == nil {
				checkInspection(t, inspection)
			} else {
				checkMessage(t, err.Error())
			}
		}
	})
}

// hostileCertificates returns certificates with names that are too long for messages or contain
// line breaks.
func hostileCertificates(f *testing.F) []pki.Pair {
	f.Helper()
	ca := pki.NewCA(f, "Partner CA")
	separators, longSerial, manyPurposes := pki.Client(
		"a\u2028b\u0085c\u009b31m"), pki.Client("orders"), pki.Client("orders")
	longSerial.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 80_000)
	purposes := make([]asn1.ObjectIdentifier, 10_000)
	for i := range purposes {
		purposes[i] = asn1.ObjectIdentifier{1, 2, 3, i}
	}
	manyPurposes.ExtKeyUsage = nil
	manyPurposes.ExtraExtensions = []pkix.Extension{
		{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: must[[]byte](f)(asn1.Marshal(purposes))},
	}
	return []pki.Pair{ca.Issue(f, separators), ca.Issue(f, longSerial), ca.Issue(f, manyPurposes)}
}

func checkInspection(t *testing.T, inspection *credential.Inspection) {
	t.Helper()
	for _, finding := range inspection.Findings {
		if finding.Severity == "" || finding.Reason == "" {
			t.Errorf("not a whole finding: %+v", finding)
		}
		checkMessage(t, finding.Message)
	}
	for _, certificate := range slices.Concat(inspection.Chain, inspection.ServerCA) {
		checkNames(t, certificate.Subject, certificate.EnvoySubject)
	}
}

// checkNames checks that a name is printable on one line, and that Envoy's notation is ASCII.
func checkNames(t *testing.T, name, envoy string) {
	t.Helper()
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	if !utf8.ValidString(name) || strings.ContainsFunc(name, control) {
		t.Errorf("a name that isn't text: %q", name)
	}
	if strings.ContainsFunc(envoy, func(r rune) bool { return control(r) || r > unicode.MaxASCII }) {
		t.Errorf("Envoy's form of a name isn't ASCII: %q", envoy)
	}
}

// FuzzDistinguishedName checks that the string of a name fits on one line, and that parsing it, if
// possible, returns the same name.
func FuzzDistinguishedName(f *testing.F) {
	for _, subject := range []string{"CN=orders,O=Example,C=DE", `CN=\ a\, b\+c\ +OU=x,DC=example`,
		"1.2.3.4=#130178,CN=Müller", "emailAddress=a@example.com,serialNumber=1,UID=u"} {
		f.Add(must[[]byte](f)(credential.ParseSubject(subject)))
	}
	for _, value := range []asn1.RawValue{{Tag: asn1.TagBMPString, Bytes: []byte{0, 'o', 0x20, 0x28}},
		{Tag: asn1.TagT61String, Bytes: []byte{0xfc, 0x9b}}, {Tag: asn1.TagUTF8String, Bytes: []byte("a\u0085\x00b")}} {
		f.Add(
			must[[]byte](f)(asn1.Marshal(pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: value}}})))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		name := credential.DistinguishedName(der)
		checkNames(t, name, credential.EnvoySubject(der))
		again, err := credential.ParseSubject(name)
		if err != nil || strings.Contains(name, "+") {
			// An unusual name, or a set, which DER reorders when it is encoded again.
			return
		}
		if diff := cmp.Diff(name, credential.DistinguishedName(again)); diff != "" {
			t.Errorf("read back it is another name (-printed +read):\n%s", diff)
		}
	})
}

// FuzzNewRequest checks that an accepted request can be signed, and that the parsed request
// contains the given names.
func FuzzNewRequest(f *testing.F) {
	f.Add("CN=orders,O=Example,C=DE", "orders.example.com", "spiffe://example.com/orders", "team@example.com")
	f.Add("", "Orders.Example.com.", "", "")
	f.Add("CN=\x7f", "a b", "urn:x", "ü@example.com")
	f.Add("", "0", "A:00000", "")
	f.Add("", "", "spiffe://example.com/a|b", "")
	key := must[*ecdsa.PrivateKey](f)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	given := func(text string) []string {
		if text == "" {
			return nil
		}
		return []string{text}
	}
	f.Fuzz(func(t *testing.T, subject, dns, uri, email string) {
		request, err := credential.NewRequest(
			credential.Identity{Subject: subject, DNSNames: given(dns), URIs: given(uri), Emails: given(email)})
		if err != nil {
			for message := range strings.SplitSeq(err.Error(), "\n") {
				checkMessage(t, message)
			}
			return
		}
		_, encoded, err := request.Encode(key)
		if err != nil {
			t.Fatalf("%q %q %q %q was taken, but can't be signed: %v", subject, dns, uri, email, err)
		}
		decoded, _ := pem.Decode(encoded)
		read, err := x509.ParseCertificateRequest(decoded.Bytes)
		if err != nil {
			t.Fatalf("%q %q %q %q can't be read again: %v", subject, dns, uri, email, err)
		}
		var uris []string
		for _, uri := range read.URIs {
			uris = append(uris, uri.String())
		}
		got := [][]string{read.DNSNames, uris, read.EmailAddresses}
		want := [][]string{given(strings.ToLower(strings.TrimSuffix(dns, "."))), given(uri), given(email)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-given +read):\n%s", diff)
		}
	})
}
