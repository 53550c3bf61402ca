package credential_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/encodings"
	"mtls.egress/webhook/test/pki"
)

// now returns a time within the validity of all certificates that don't set their own.
func now() time.Time { return time.Date(2026, time.July, 1, 12, 0, 0, 0, time.UTC) }

// problemsOf returns the problems of a RefusedError. Any other error fails the test, because the
// package returns no others.
func problemsOf(tb testing.TB, err error) []credential.Problem {
	tb.Helper()
	if err == nil {
		return nil
	}
	var refused *credential.RefusedError
	if !errors.As(err, &refused) {
		tb.Fatalf("not a RefusedError: %v", err)
	}
	return refused.Problems
}

// orders returns the client template of these tests. Its serial number is fixed, so that tests can
// compare whole messages.
func orders() pki.Template {
	template := pki.Client("orders")
	template.SerialNumber = big.NewInt(0x0a1b2c)
	return template
}

const ordersID = `(subject "CN=orders", serial 0a1b2c)`

func secret(client pki.Pair, server *pki.CA) map[string][]byte {
	return map[string][]byte{"cert": client.CertPEM, "key": client.KeyPEM, "cacert": server.CertPEM}
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func must[T any](tb testing.TB) func(T, error) T {
	return func(value T, err error) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return value
	}
}

func TestJudgeTellsWhatACredentialIs(t *testing.T) {
	root := pki.NewCA(t, "Partner Root")
	issuing := root.Intermediate(t, "Partner Issuing")
	template := pki.Client("orders")
	template.Subject = pkix.Name{Country: []string{"DE"}, Organization: []string{"Example, Inc."}, CommonName: "orders"}
	template.SerialNumber = big.NewInt(0x0123ab)
	template.NotBefore = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	template.NotAfter = time.Date(2027, time.January, 1, 0, 0, 0, 0, time.UTC)
	template.DNSNames = []string{"orders.example.com"}
	template.EmailAddresses = []string{"team@example.com"}
	template.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1), net.ParseIP("2001:db8::1")}
	template.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.com", Path: "/ns/project/sa/orders"}}
	client := issuing.Issue(t, template)

	server := pki.SelfSigned(t, authority("Server CA", 7))
	got, err := credential.Check(map[string][]byte{
		"tls.crt": slices.Concat(client.CertPEM, issuing.CertPEM),
		"tls.key": client.KeyPEM,
		"ca.crt":  server.CertPEM,
	}, credential.TLSLayout(), now())
	if err != nil {
		t.Fatal(err)
	}

	fingerprint := sha256.Sum256(client.Certificate.Raw)
	want := &credential.Credential{
		Subject:      `CN=orders,O=Example\, Inc.,C=DE`,
		Issuer:       "CN=Partner Issuing",
		SerialNumber: "0123ab",
		NotBefore:    template.NotBefore,
		NotAfter:     template.NotAfter,
		SHA256:       hex.EncodeToString(fingerprint[:]),
		DNSNames:     []string{"orders.example.com"},
		Emails:       []string{"team@example.com"},
		IPAddresses:  []string{"192.0.2.1", "2001:db8::1"},
		URIs:         []string{"spiffe://example.com/ns/project/sa/orders"},
		ChainLength:  2,
		KeyType:      "ecdsa-p256",
		ServerCA: &credential.ServerCA{
			Subject: "CN=Server CA", SerialNumber: "07", NotBefore: pki.Epoch(), NotAfter: server.Certificate.NotAfter,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestJudgeAcceptsEveryFormOfAKey(t *testing.T) {
	ca := pki.NewCA(t, "Partner CA")
	p256 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	p384 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	rsa2048 := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(template pki.Template) pki.Pair { return ca.Issue(t, template) }
	onP256, onP384, onRSA, onEd := orders(), orders(), orders(), orders()
	onP256.Key, onP384.Key, onRSA.Key, onEd.Key = p256, p384, rsa2048, ed

	tests := map[string]struct {
		client  pki.Pair
		key     []byte
		keyType string
	}{
		"ECDSA in PKCS#8": {client: issue(onP256), keyType: "ecdsa-p256"},
		"ECDSA in SEC1": {
			client: issue(onP384), keyType: "ecdsa-p384",
			key: block("EC PRIVATE KEY", must[[]byte](t)(x509.MarshalECPrivateKey(p384))),
		},
		"ECDSA in SEC1 after its parameters, as openssl ecparam writes it": {
			client:  issue(onP256),
			keyType: "ecdsa-p256",
			key: slices.Concat(
				block("EC PARAMETERS", []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}),
				block("EC PRIVATE KEY", must[[]byte](t)(x509.MarshalECPrivateKey(p256)))),
		},
		"RSA in PKCS#8": {client: issue(onRSA), keyType: "rsa-2048"},
		"RSA in PKCS#1": {
			client: issue(onRSA), keyType: "rsa-2048",
			key: block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsa2048)),
		},
		"Ed25519": {client: issue(onEd), keyType: "ed25519"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			data := secret(test.client, ca)
			if test.key != nil {
				data["key"] = test.key
			}
			got, err := credential.Check(data, credential.CertKeyLayout(), now())
			if err != nil {
				t.Fatal(err)
			}
			if got.KeyType != test.keyType {
				t.Errorf("key type %q, want %q", got.KeyType, test.keyType)
			}
		})
	}
}

// TestJudge covers every rule once: what it refuses, with the whole message, and what it allows.
func TestJudge(t *testing.T) {
	partner, server := pki.NewCA(t, "Partner CA"), pki.NewCA(t, "Server CA")
	client := partner.Issue(t, orders())
	other := partner.Issue(t, pki.Client("other"))
	issue := func(change func(*pki.Template)) pki.Pair {
		template := orders()
		change(&template)
		return partner.Issue(t, template)
	}
	rawKey := must[[]byte](t)(x509.MarshalPKCS8PrivateKey(client.Key))
	agreement := must[[]byte](t)(
		x509.MarshalPKCS8PrivateKey(must[*ecdh.PrivateKey](t)(ecdh.X25519().GenerateKey(rand.Reader))),
	)
	withKey := func(key []byte) map[string][]byte {
		return map[string][]byte{"cert": client.CertPEM, "key": key, "cacert": server.CertPEM}
	}
	withCert := func(cert []byte) map[string][]byte {
		return map[string][]byte{"cert": cert, "key": client.KeyPEM, "cacert": server.CertPEM}
	}
	withCA := func(ca []byte) map[string][]byte {
		return map[string][]byte{"cert": client.CertPEM, "key": client.KeyPEM, "cacert": ca}
	}
	only := func(reason credential.Reason, key, message string) []credential.Problem {
		return []credential.Problem{{Reason: reason, Key: key, Message: message}}
	}
	expired := func(t *pki.Template) {
		t.NotBefore, t.NotAfter = time.Date(2025, 1, 1, 0, 0, 0, 0,
			time.UTC), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	netscape := func(bits byte) pkix.Extension {
		return pkix.Extension{
			Id:    asn1.ObjectIdentifier{2, 16, 840, 1, 113730, 1, 1},
			Value: must[[]byte](t)(asn1.Marshal(asn1.BitString{Bytes: []byte{bits}, BitLength: 8})),
		}
	}
	purposes := must[[]byte](t)(asn1.Marshal([]asn1.ObjectIdentifier{{1, 2, 3}, {1, 3, 6, 1, 5, 5, 7, 3, 3}}))
	pkcs12 := append([]byte{0x30, 0x82, 0x09, 0x00, 0x02, 0x01, 0x03}, make([]byte, 100)...)
	const displaced = `does not start a line; remove the text before it, including blanks and byte order ` +
		`marks, or add a line break`
	const unread = `, and the sidecar can't read it: save it as plain ASCII with line breaks`
	damaged := `is damaged: 1 of its 1 PEM block cannot be decoded; a block needs its BEGIN and END lines and ` +
		`the line breaks in between`

	tests := map[string]struct {
		data   map[string][]byte
		layout egress.Layout // default: cert,key,cacert
		want   []credential.Problem
	}{
		// The Secret as a whole.
		"a whole credential is accepted": {data: secret(client, server)},
		"keys named by the user are used": {
			data: map[string][]byte{
				"client.pem": client.CertPEM,
				"client.key": client.KeyPEM,
				"server-ca":  server.CertPEM,
			},
			layout: egress.Layout{Certificate: "client.pem", PrivateKey: "client.key", ServerCA: "server-ca"},
		},
		"a CA from elsewhere is not looked for": {
			data:   map[string][]byte{"cert": client.CertPEM, "key": client.KeyPEM, "cacert": []byte("rubbish")},
			layout: egress.Layout{Certificate: "cert", PrivateKey: "key"},
		},
		"an empty Secret lacks all three parts": {
			data: map[string][]byte{},
			want: []credential.Problem{
				{credential.SecretKeyMissing, "cert", `"cert" (client certificate) is missing`},
				{credential.SecretKeyMissing, "key", `"key" (private key) is missing`},
				{
					credential.ServerCAMissing,
					"cacert",
					`"cacert" (CA of the server) is missing; without it the sidecar can't authenticate the server`,
				},
			},
		},
		"values of white space are empty": {
			data: map[string][]byte{"cert": []byte("\n"), "key": nil, "cacert": []byte("  \n")},
			want: []credential.Problem{
				{credential.SecretKeyMissing, "cert", `"cert" (client certificate) is empty`},
				{credential.SecretKeyMissing, "key", `"key" (private key) is empty`},
				{
					credential.ServerCAMissing,
					"cacert",
					`"cacert" (CA of the server) is empty; without it the sidecar can't authenticate the server`,
				},
			},
		},
		"all problems are reported, the most important first": {
			data: map[string][]byte{"cert": issue(func(t *pki.Template) {
				expired(t)
				t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
			}).CertPEM, "key": other.KeyPEM},
			want: []credential.Problem{
				{
					credential.PrivateKeyMismatch,
					"key",
					`"key" (private key) does not match the certificate in "cert" ` + ordersID +
						`: store the private key that this certificate was requested with`,
				},
				{
					credential.CertificateExpired,
					"cert",
					`"cert" (client certificate) expired on 2026-01-01T00:00:00Z ` + ordersID +
						`: request a new one from its issuer`,
				},
				{
					credential.NotForClientAuth,
					"cert",
					`"cert" (client certificate) can't be used as a TLS client ` + ordersID +
						`: its extended key usage is serverAuth; it must be clientAuth`,
				},
				{
					credential.ServerCAMissing,
					"cacert",
					`"cacert" (CA of the server) is missing; without it the sidecar can't authenticate the server`,
				},
			},
		},

		// The certificate.
		"text before and between the blocks is tolerated": {
			data: withCert(
				slices.Concat([]byte("Bag Attributes\n    localKeyID: 54\nsubject=CN = orders\n"), client.CertPEM,
					[]byte("\nBag Attributes: <Empty>\n"), partner.CertPEM),
			),
		},
		"Windows line ends are tolerated": {
			data: withCert(bytes.ReplaceAll(client.CertPEM, []byte("\n"), []byte("\r\n"))),
		},
		"the private key next to the certificate is tolerated": {
			data: withCert(slices.Concat(client.KeyPEM, client.CertPEM)),
		},
		"DER for a certificate": {
			data: withCert(client.Certificate.Raw),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) is not PEM: it looks like DER, the binary form; convert it (openssl `+
					`x509 -inform DER -in FILE -out cert)`),
		},
		"PKCS#12 for a certificate": {
			data: withCert(pkcs12),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) is not PEM: it looks like PKCS#12 (.p12, .pfx); extract the certificate `+
					`and the key from it as PEM`),
		},
		"PKCS#12 in BER for a certificate": {
			data: withCert(slices.Concat([]byte{0x30, 0x80}, pkcs12[4:], []byte{0, 0})),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) is not PEM: it looks like PKCS#12 (.p12, .pfx); extract the certificate `+
					`and the key from it as PEM`),
		},
		"a Java key store for a certificate": {
			data: withCert([]byte("\xfe\xed\xfe\xed\x00\x00\x00\x02")),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) is not PEM: it is a Java key store (JKS); convert it (keytool `+
					`-importkeystore -srckeystore FILE -srcstoretype JKS -destkeystore new.p12 -deststoretype PKCS12)`),
		},
		"base64 twice": {
			data: withCert([]byte(base64.StdEncoding.EncodeToString(client.CertPEM))),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) is not PEM: it looks like PEM that is base64-encoded twice; put the PEM `+
					`text in stringData, or its base64 in data`),
		},
		"the body of a block alone": {
			data: withCert([]byte(base64.StdEncoding.EncodeToString(client.Certificate.Raw))),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) is not PEM: it looks like the body of a PEM block `+
					`without its BEGIN and END lines`),
		},
		"a key store in base64": {
			data: withCert([]byte(base64.StdEncoding.EncodeToString(pkcs12))),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) is not PEM: it looks like PKCS#12 (.p12, .pfx) in base64; decode it (base64 -d), `+
					`and extract the certificate and the key as PEM`),
		},
		"a byte order mark": {
			data: withCert(append([]byte("\xef\xbb\xbf"), client.CertPEM...)),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) starts with a byte order mark, as some editors write it`+unread),
		},
		"lines that end with a carriage return": {
			data: withCert(bytes.ReplaceAll(client.CertPEM, []byte("\n"), []byte("\r"))),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) ends its lines with a carriage return only`+unread),
		},
		"UTF-16": {
			data: withCert(encodings.Of(string(client.CertPEM))["UTF-16 LE without a mark"]),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) is UTF-16, as PowerShell writes it`+unread),
		},
		"UTF-16 that ends in half a character": {
			data: withCert(append(encodings.Of(string(client.CertPEM))["UTF-16 LE with a mark"], 0)),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) is UTF-16 with half a character at its end: save it as UTF-8`),
		},
		"UTF-32": {
			data: withCert([]byte("\xff\xfe\x00\x00-\x00\x00\x00")),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) is UTF-32: save it as UTF-8`),
		},
		`\n in place of line breaks`: {
			data: withCert(bytes.ReplaceAll(client.CertPEM, []byte("\n"), []byte(`\n`))),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) has \n in place of line breaks`+unread),
		},
		"an indented block": {
			data: withCert(append([]byte("  "), client.CertPEM...)),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) is not PEM: its BEGIN line does not start a line; remove the text `+
					`before it, including blanks`),
		},
		"a byte order mark before the first of several, which a decoder would skip": {
			data: withCert(slices.Concat([]byte("\xef\xbb\xbf"), client.CertPEM, partner.CertPEM)),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) starts with a byte order mark, as some editors write it`+unread),
		},
		"a blank before the first of several": {
			data: withCert(slices.Concat([]byte(" "), client.CertPEM, partner.CertPEM)),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) is damaged: the BEGIN line of 1 of its 2 PEM blocks `+displaced),
		},
		"byte order marks in the middle, as joined files have them": {
			data: withCert(
				slices.Concat(client.CertPEM, []byte("\xef\xbb\xbf"), partner.CertPEM, []byte("\xef\xbb\xbf"),
					partner.CertPEM),
			),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) has byte order marks in the middle, as joined files have them`+unread),
		},
		"a block without the line break before the next one": {
			data: withCert(slices.Concat(bytes.TrimSpace(client.CertPEM), partner.CertPEM)),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) is damaged: the BEGIN line of 1 of its 2 PEM blocks `+displaced),
		},
		"text that is no PEM": {
			data: withCert([]byte("see the wiki")),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) is not PEM: it has no BEGIN line`),
		},
		"a block cut off": {
			data: withCert(client.CertPEM[:len(client.CertPEM)-40]),
			want: only(credential.CertificateUnreadable, "cert", `"cert" (client certificate) `+damaged),
		},
		"a block whose line breaks were lost": {
			data: withCert(bytes.ReplaceAll(client.CertPEM, []byte("\n"), []byte(" "))),
			want: only(credential.CertificateUnreadable, "cert", `"cert" (client certificate) `+damaged),
		},
		"a damaged intermediate, which a decoder would skip": {
			data: withCert(
				slices.Concat(client.CertPEM, bytes.Replace(partner.CertPEM, []byte("MII"), []byte("M!!"), 1))),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) is damaged: 1 of its 2 PEM blocks cannot be decoded; a block needs its `+
					`BEGIN and END lines and the line breaks in between`),
		},
		"a block that is not X.509": {
			data: withCert(slices.Concat(client.CertPEM, block("CERTIFICATE", []byte("rubbish")))),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate): certificate 2 of 2 cannot be read: x509: malformed certificate`),
		},
		"the private key in the certificate's place": {
			data: withCert(client.KeyPEM),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) holds no certificate but a private key: were two parts swapped?`),
		},
		"the request instead of the certificate": {
			data: withCert(block("CERTIFICATE REQUEST", []byte("x"))),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) holds no certificate but a certificate request: store the certificate `+
					`that the CA issued for it`),
		},
		"PKCS#7 instead of PEM certificates": {
			data: withCert(block("PKCS7", []byte("x"))),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) holds no certificate but PKCS#7: extract the certificates from it `+
					`(openssl pkcs7 -print_certs)`),
		},
		"a type of PEM that nobody knows is not repeated": {
			data: withCert(block("SOMETHING ELSE", []byte("x"))),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) holds no certificate but PEM of another type`),
		},
		"a value over the limit": {
			data: withCert(bytes.Repeat([]byte("\n# comment"), credential.MaxPartSize/10+1)),
			want: only(credential.CertificateUnreadable, "cert",
				`"cert" (client certificate) has 1048580 bytes: the limit is 1048576`),
		},

		// The private key.
		"text before the key is tolerated": {
			data: withKey(
				append(
					[]byte("Bag Attributes\n    localKeyID: 54\nKey Attributes: <No Attributes>\n"),
					client.KeyPEM...),
			),
		},
		"an encrypted PKCS#8 key": {
			data: withKey(block("ENCRYPTED PRIVATE KEY", rawKey)),
			want: only(credential.PrivateKeyUnreadable, "key",
				`"key" (private key) is encrypted with a password, which the sidecar cannot know: store it decrypted `+
					`(openssl pkey -in FILE -out key)`),
		},
		"an encrypted key of the old form": {
			data: withKey(
				pem.EncodeToMemory(
					&pem.Block{
						Type:    "RSA PRIVATE KEY",
						Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"},
						Bytes:   rawKey,
					},
				),
			),
			want: only(credential.PrivateKeyUnreadable, "key",
				`"key" (private key) is encrypted with a password, which the sidecar cannot know: store it decrypted `+
					`(openssl pkey -in FILE -out key)`),
		},
		"an OpenSSH key": {
			data: withKey(block("OPENSSH PRIVATE KEY", rawKey)),
			want: only(credential.PrivateKeyUnreadable, "key",
				`"key" (private key) is in OpenSSH's own format: store it as PKCS#8 (BEGIN PRIVATE KEY)`),
		},
		"several private keys": {
			data: withKey(slices.Concat(client.KeyPEM, other.KeyPEM)),
			want: only(credential.PrivateKeyUnreadable, "key",
				`"key" (private key) holds 2 private keys: keep only the one that belongs to the certificate`),
		},
		"the certificate in the key's place": {
			data: withKey(client.CertPEM),
			want: only(credential.PrivateKeyUnreadable, "key",
				`"key" (private key) holds no private key but a certificate: were two parts swapped?`),
		},
		"the public key instead of the private one": {
			data: withKey(
				block("PUBLIC KEY", must[[]byte](t)(x509.MarshalPKIXPublicKey(client.Certificate.PublicKey)))),
			want: only(credential.PrivateKeyUnreadable, "key",
				`"key" (private key) holds no private key but a public key`),
		},
		"a key in DER": {
			data: withKey(rawKey),
			want: only(credential.PrivateKeyUnreadable, "key",
				`"key" (private key) is not PEM: it looks like DER, the binary form; convert it (openssl pkey `+
					`-inform DER -in FILE -out key)`),
		},
		"a damaged key": {
			data: withKey(block("PRIVATE KEY", rawKey[:len(rawKey)-7])),
			want: only(credential.PrivateKeyUnreadable, "key",
				`"key" (private key) cannot be read: its content is not a valid key in PKCS#8 (BEGIN PRIVATE KEY); write `+
					`it again (openssl pkey -in FILE -out NEW), and if OpenSSL can't read it either, request a new key `+
					`and certificate`),
		},
		"a DSA key": {
			data: withKey(block("DSA PRIVATE KEY", rawKey)),
			want: only(credential.PrivateKeyUnreadable, "key",
				`"key" (private key) is a DSA key, which TLS 1.3 and the sidecar don't support: ask the issuer for a `+
					`certificate with an RSA or ECDSA P-256 key`),
		},
		"a key that cannot sign": {
			data: withKey(block("PRIVATE KEY", agreement)),
			want: only(
				credential.PrivateKeyUnreadable,
				"key",
				`"key" (private key) cannot sign, it is for key agreement only: a TLS client needs an RSA or ECDSA key`,
			),
		},
		"the key of another certificate": {
			data: withKey(other.KeyPEM),
			want: only(credential.PrivateKeyMismatch, "key",
				`"key" (private key) does not match the certificate in "cert" `+ordersID+`: store `+
					`the private key that this certificate was requested with`),
		},
		"the issuer before the leaf": {
			data: withCert(slices.Concat(partner.CertPEM, client.CertPEM)),
			want: []credential.Problem{
				{
					credential.PrivateKeyMismatch,
					"cert",
					`"cert" (client certificate) has its certificates in the wrong order: the private key ` +
						`belongs to certificate 2 of 2 ` + ordersID + `, which must come first, ` +
						`followed by its intermediates`,
				},
				{
					credential.NotForClientAuth,
					"cert",
					fmt.Sprintf(
						`"cert" (client certificate) can't be used as a TLS client (subject "CN=Partner CA", serial `+
							`%s): its key usage is keyCertSign, cRLSign; it must include digitalSignature`,
						hex.EncodeToString(partner.Certificate.SerialNumber.Bytes())),
				},
			},
		},

		// The validity: RFC 5280 §4.1.2.5, inclusive.
		"the last second is valid": {data: secret(issue(func(t *pki.Template) { t.NotAfter = now() }), server)},
		"a second later it has expired": {
			data: secret(issue(func(t *pki.Template) { t.NotAfter = now().Add(-time.Second) }), server),
			want: only(
				credential.CertificateExpired,
				"cert",
				`"cert" (client certificate) expired on 2026-07-01T11:59:59Z `+ordersID+`: request a new one from its issuer`,
			),
		},
		"the first second is valid": {data: secret(issue(func(t *pki.Template) { t.NotBefore = now() }), server)},
		"a second earlier it is not yet valid": {
			data: secret(issue(func(t *pki.Template) { t.NotBefore = now().Add(time.Second) }), server),
			want: only(
				credential.CertificateNotYetValid,
				"cert",
				`"cert" (client certificate) is valid only from 2026-07-01T12:00:01Z on `+
					ordersID+`: use the previous one until then`,
			),
		},

		// The usage: RFC 5280 §4.2.1.3 and §4.2.1.12. TestUsageAgreesWithOpenSSL covers the other
		// combinations.
		"a purpose that nobody knows": {
			data: secret(issue(func(t *pki.Template) {
				t.ExtKeyUsage = nil
				t.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: purposes}}
			}), server),
			want: only(credential.NotForClientAuth, "cert",
				`"cert" (client certificate) can't be used as a TLS client `+ordersID+`: its extended key usage is `+
					`codeSigning, 1.2.3; it must be clientAuth`),
		},
		"a key usage without signatures": {
			data: secret(
				issue(
					func(t *pki.Template) { t.KeyUsage = x509.KeyUsageKeyEncipherment | x509.KeyUsageDataEncipherment },
				),
				server,
			),
			want: only(
				credential.NotForClientAuth,
				"cert",
				`"cert" (client certificate) can't be used as a TLS client `+ordersID+`: its key usage is keyEncipherment, `+
					`dataEncipherment; it must include digitalSignature`,
			),
		},
		"a Netscape type without SSL client": {
			data: secret(issue(func(t *pki.Template) { t.ExtraExtensions = []pkix.Extension{netscape(0x40)} }), server),
			want: only(credential.NotForClientAuth, "cert",
				`"cert" (client certificate) can't be used as a TLS client `+ordersID+`: its Netscape certificate `+
					`type doesn't include SSL client`),
		},

		// The CA of the server.
		"a CA of several certificates": {
			data: withCA(slices.Concat([]byte("# partner\n"), server.CertPEM, partner.CertPEM)),
		},
		"a CA that is a private key": {
			data: withCA(server.KeyPEM),
			want: only(credential.ServerCAUnreadable, "cacert",
				`"cacert" (CA of the server) holds no certificate but a private key: were two parts swapped?`),
		},
		"a CA in DER": {
			data: withCA(server.Certificate.Raw),
			want: only(credential.ServerCAUnreadable, "cacert",
				`"cacert" (CA of the server) is not PEM: it looks like DER, the binary form; convert it (openssl `+
					`x509 -inform DER -in FILE -out cacert)`),
		},
		"a CA whose time is over": {
			data: withCA(slices.Concat(
				pki.SelfSigned(t,
					pki.Template{IsCA: true, NotAfter: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}).CertPEM,
				pki.SelfSigned(t,
					pki.Template{IsCA: true, NotAfter: time.Date(2024, 6, 1, 0, 0, 0, 0, time.UTC)}).CertPEM,
			)),
			want: only(credential.ServerCAExpired, "cacert",
				`"cacert" (CA of the server) holds no certificate that is valid now (the last one expires on `+
					`2026-06-01T00:00:00Z): ask the partner for the current CA of the server's certificate`),
		},
		"an expired CA next to a valid one is tolerated": {
			data: withCA(
				slices.Concat(
					pki.SelfSigned(t,
						pki.Template{IsCA: true, NotAfter: time.Date(2024, 6, 1, 0, 0, 0, 0, time.UTC)}).CertPEM,
					server.CertPEM,
				),
			),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			layout := test.layout
			if layout == (egress.Layout{}) {
				layout = credential.CertKeyLayout()
			}
			_, err := credential.Check(test.data, layout, now())
			if diff := cmp.Diff(test.want, problemsOf(t, err)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefusedErrorNamesTheMostImportantReason(t *testing.T) {
	ca := pki.NewCA(t, "Partner CA")
	template := orders()
	template.NotAfter = now().Add(-time.Hour)
	template.KeyUsage = x509.KeyUsageKeyEncipherment
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	client := ca.Issue(t, template)

	got, err := credential.Check(map[string][]byte{"cert": client.CertPEM, "key": client.KeyPEM},
		credential.CertKeyLayout(), now())

	var refused *credential.RefusedError
	if !errors.As(fmt.Errorf("Secret project/external-system-mtls-data: %w", err), &refused) {
		t.Fatalf("not a RefusedError: %v", err)
	}
	if refused.Reason() != credential.CertificateExpired {
		t.Errorf("reason %s, want %s", refused.Reason(), credential.CertificateExpired)
	}
	want := []credential.Reason{credential.CertificateExpired, credential.NotForClientAuth, credential.ServerCAMissing}
	if diff := cmp.Diff(want, refused.Reasons()); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	if parts := strings.Split(refused.Error(),
		"; "); !strings.HasPrefix(parts[0], `"cert" (client certificate) expired`) ||
		strings.Contains(refused.Error(), "\n") {
		t.Errorf("not one line that starts with the most important problem: %q", refused.Error())
	}
	if got == nil || !got.NotAfter.Equal(template.NotAfter) {
		t.Errorf("the refused certificate is not described: %+v", got)
	}
}
