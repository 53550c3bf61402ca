package credential_test

import (
	"archive/zip"
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/test/pki"
)

// mail is what a partner sends: the client's chain, and the CA of the server.
type mail struct {
	root, issuing, server *pki.CA
	client                pki.Pair
}

func newMail(tb testing.TB) mail {
	tb.Helper()
	root := pki.NewCA(tb, "Partner Root")
	issuing := root.Intermediate(tb, "Partner Client CA")
	return mail{root, issuing, pki.NewCA(tb, "Server CA"), issuing.Issue(tb, orders())}
}

// opensslKey encrypts the key of the client with OpenSSL.
func (m mail) opensslKey(t *testing.T, args ...string) []byte {
	t.Helper()
	path := write(t, "plain.key", m.client.KeyPEM)
	command := exec.CommandContext(t.Context(), "openssl", append(args, "-in", path, "-passout", "pass:changeit")...)
	encrypted, err := command.Output()
	if err != nil {
		t.Skipf("this openssl can't: %v", err)
	}
	if !bytes.Contains(encrypted, []byte("ENCRYPTED")) {
		t.Fatalf("not encrypted:\n%s", encrypted)
	}
	return encrypted
}

// checkBundle compares a bundle with the credential of m, by its key, and its chain in the Secret.
func (m mail) checkBundle(t *testing.T, bundle credential.Bundle) {
	t.Helper()
	if diff := cmp.Diff(m.client.Key, bundle.PrivateKey); diff != "" {
		t.Errorf("another key (-want +got):\n%s", diff)
	}
	chain, err := credential.Arrange(bundle)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, certificate := range chain.Certificates {
		got = append(got, certificate.Subject.CommonName)
	}
	if diff := cmp.Diff([]string{"orders", "Partner Client CA"}, got); diff != "" {
		t.Errorf("another chain (-want +got):\n%s", diff)
	}
}

func wrong(err error) bool {
	_, isWrong := errors.AsType[*credential.WrongPasswordError](err)
	return isWrong
}

// TestReadsWhatMailBrings reads files that OpenSSL and keytool wrote.
func TestReadsWhatMailBrings(t *testing.T) {
	m := newMail(t)
	chain := slices.Concat(m.client.CertPEM, m.issuing.CertPEM, m.root.CertPEM)
	text := func(parts ...[]byte) []byte {
		return slices.Concat([]byte("Dear team,\n\nplease find it below.\n\n"),
			bytes.Join(parts, []byte("\nsee also:\n")), []byte("\n-- \nYour partner\n"))
	}
	exported := export(t, m.client.KeyPEM, [][]byte{chain}, "-passout", "pass:changeit")
	tests := map[string]struct {
		content []byte
		// want is the error with the password, and wrongOne the error with another one. Files without
		// encryption have none.
		want, wrongOne string
	}{
		"the key first": {content: slices.Concat(m.client.KeyPEM, chain)},
		"the key last, the root first": {
			content: slices.Concat(m.root.CertPEM, m.issuing.CertPEM, m.client.CertPEM, m.client.KeyPEM),
		},
		"the key in the middle, with text": {
			content: text(m.root.CertPEM, m.client.KeyPEM, m.client.CertPEM, m.issuing.CertPEM),
		},
		"with the line breaks of Windows": {
			content: bytes.ReplaceAll(text(chain, m.client.KeyPEM), []byte("\n"), []byte("\r\n")),
		},
		"in the UTF-16 of PowerShell": {content: utf16LE(text(chain, m.client.KeyPEM))},
		"PKCS#8, encrypted": {
			content:  text(chain, m.opensslKey(t, "pkcs8", "-topk8")),
			wrongOne: "the password is wrong: it doesn't decrypt the private key",
		},
		"PKCS#8, encrypted with 3DES": {
			content:  text(m.opensslKey(t, "pkcs8", "-topk8", "-v2", "des3"), chain),
			wrongOne: "the password is wrong: it doesn't decrypt the private key",
		},
		"Proc-Type, with AES": {
			content:  text(chain, m.opensslKey(t, "ec", "-aes256")),
			wrongOne: "the password is wrong: it doesn't decrypt the private key",
		},
		"Proc-Type, with 3DES": {
			content:  text(m.opensslKey(t, "ec", "-des3"), chain),
			wrongOne: "the password is wrong: it doesn't decrypt the private key",
		},
		"Java's JKS": {
			content:  importJava(t, exported, "JKS"),
			wrongOne: "the password is wrong",
		},
		"Java's PKCS#12": {
			content:  importJava(t, exported, "PKCS12"),
			wrongOne: "the password is wrong",
		},
		"Proc-Type with a cipher of Camellia": {
			content: text(chain, m.opensslKey(t, "ec", "-camellia256")),
			want:    "the private key is encrypted in a way that is not supported: decrypt it (openssl pkey -in FILE -out NEW)",
		},
		"certificates without a key": {
			content: text(chain),
			want: "the file holds no private key but a certificate: were two parts swapped?; join the key and its " +
				"certificates with credential complete --key FILE --cert FILE",
		},
		"two keys": {
			content: text(m.client.KeyPEM, m.server.KeyPEM, chain),
			want:    `"mail" (private key) holds 2 private keys: keep only the one that belongs to the certificate`,
		},
		"a block without its end": {
			content: text(chain, m.client.KeyPEM[:100]),
			want: `"mail" (private key) is damaged: 1 of its 4 PEM blocks cannot be decoded; a block needs its BEGIN and END ` +
				"lines and the line breaks in between",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bundle, err := credential.ReadKeyStore("mail", test.content, "changeit")
			switch {
			case test.want != "" && (err == nil || err.Error() != test.want):
				t.Errorf("got  %v\nwant %s", err, test.want)
			case test.want == "" && err != nil:
				t.Fatal(err)
			case test.want == "":
				m.checkBundle(t, bundle)
			}
			if test.wrongOne == "" {
				return
			}
			if !credential.NeedsPassword(test.content) {
				t.Error("nobody asks for its password")
			}
			if _, err := credential.ReadKeyStore("mail", test.content, "changeit2"); err == nil || !wrong(err) ||
				err.Error() != test.wrongOne {
				t.Errorf("with another password: %v", err)
			}
			if _, err := credential.ReadKeyStore("mail", test.content, ""); err == nil || wrong(err) ||
				err.Error() != "the file has a password, and none was given" {
				t.Errorf("without a password: %v", err)
			}
		})
	}
}

func utf16LE(text []byte) []byte {
	encoded := []byte{0xff, 0xfe}
	for _, b := range text {
		encoded = append(encoded, b, 0)
	}
	return encoded
}

// trustStore is a trust store that keytool made.
func trustStore(t *testing.T, kind string, authorities ...*pki.CA) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "trust")
	for i, authority := range authorities {
		keytool(t, "-importcert", "-noprompt", "-keystore", out, "-storetype", kind, "-storepass", "changeit",
			"-alias", fmt.Sprintf("ca%d", i), "-file", write(t, "ca.pem", authority.CertPEM))
	}
	return must[[]byte](t)(os.ReadFile(out))
}

func TestReadsTrustStores(t *testing.T) {
	m := newMail(t)
	p12 := trustStore(t, "PKCS12", m.server, m.root)
	jks := trustStore(t, "JKS", m.server, m.root)
	both := []string{"Partner Root", "Server CA"}
	tests := map[string]struct {
		content  []byte
		password string
		want     []string
		err      string
	}{
		"PKCS#12": {content: p12, password: "changeit", want: both},
		"PKCS#12, another password": {
			content:  p12,
			password: "x",
			err:      `"ca" (CA of the server): the password is wrong`,
		},
		"PKCS#12, no password": {
			content: p12,
			err: `"ca" (CA of the server): the file has a password, and none was given: a trust store needs it, and a key ` +
				`store with a private key isn't the CA of a server`,
		},
		"JKS": {content: jks, password: "changeit", want: both},
		"JKS, another password": {
			content:  jks,
			password: "x",
			err:      `"ca" (CA of the server): the password is wrong`,
		},
		"JKS, not verified": {content: jks, want: both},
		"JCEKS": {
			content:  trustStore(t, "JCEKS", m.server, m.root),
			password: "changeit",
			want:     both,
		},
		"PEM": {content: slices.Concat(m.server.CertPEM, m.root.CertPEM), want: both},
		"a key store, which has no CA of a server": {
			content:  importJava(t, export(t, m.client.KeyPEM, [][]byte{m.client.CertPEM}, "-passout", "pass:changeit"), "JKS"),
			password: "changeit",
			err: `"ca" (CA of the server) holds a private key, so it is the key store of a client: ask the partner for the CA ` +
				"of the server's certificate",
		},
		"half a JKS": {content: jks[:len(jks)/2], password: "changeit", err: `"ca" (CA of the server): the file is a ` +
			"damaged Java key store (JKS): the file ends inside a value; download it again in binary mode"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			authorities, err := credential.ReadTrustStore("ca", test.content, test.password)
			if test.err != "" {
				if err == nil || err.Error() != test.err || wrong(err) != strings.HasSuffix(test.err, "is wrong") {
					t.Errorf("got  %v\nwant %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, certificate := range authorities.Certificates {
				got = append(got, certificate.Subject.CommonName)
			}
			slices.Sort(got)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// packed is an archive of files, each a name and its content.
func packed(tb testing.TB, files ...any) []byte {
	tb.Helper()
	var out bytes.Buffer
	writer := zip.NewWriter(&out)
	for i := 0; i < len(files); i += 2 {
		name, _ := files[i].(string)
		content, _ := files[i+1].([]byte)
		entry, err := writer.Create(name)
		if err == nil {
			_, err = entry.Write(content)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func TestReadsArchives(t *testing.T) {
	m := newMail(t)
	chain := slices.Concat(m.client.CertPEM, m.issuing.CertPEM)
	whole := slices.Concat(chain, m.root.CertPEM)
	key, ca := m.client.KeyPEM, m.server.CertPEM
	der := must[[]byte](t)(x509.MarshalPKCS8PrivateKey(m.client.Key))
	ecKey, _ := m.client.Key.(*ecdsa.PrivateKey)
	sec1 := must[[]byte](t)(x509.MarshalECPrivateKey(ecKey))
	encrypted, _ := pem.Decode(m.opensslKey(t, "pkcs8", "-topk8"))
	damaged := packed(t, "key.pem", key, "cert.pem", chain)
	damaged[60] ^= 0xff
	locked := packed(t, "key.pem", key)
	for _, signature := range []struct {
		text string
		flag int
	}{{"PK\x03\x04", 6}, {"PK\x01\x02", 8}} {
		locked[bytes.Index(locked, []byte(signature.text))+signature.flag] |= 1
	}
	link := func() []byte {
		var out bytes.Buffer
		writer := zip.NewWriter(&out)
		header := &zip.FileHeader{Name: "key.pem"}
		header.SetMode(os.ModeSymlink | 0o777)
		entry := must[interface{ Write([]byte) (int, error) }](t)(writer.CreateHeader(header))
		must[int](t)(entry.Write([]byte("/etc/passwd")))
		if err := writer.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	many := []any{}
	for i := range 101 {
		many = append(many, strconv.Itoa(i), []byte{})
	}
	tests := map[string]struct {
		content  []byte
		serverCA string
		// from is the file with the CA of the server, and findings how many files are ignored.
		from     string
		findings int
		err      string
	}{
		"the three files": {
			content: packed(t, "client.crt", whole, "client.key", key, "server-ca.crt", ca), from: "server-ca.crt",
		},
		"in a folder, with other files": {
			content: packed(t, "Partner/", []byte{}, "Partner/README.pdf", []byte("%PDF"), "Partner/a.pem",
				slices.Concat([]byte("hello\n"), key, whole), "Partner/ca.cer", m.server.Certificate.Raw,
				"__MACOSX/Partner/._a.pem", []byte{0}),
			from: "Partner/ca.cer", findings: 1,
		},
		"a certificate in each file": {
			content: packed(t, "1.pem", m.issuing.CertPEM, "2.pem", m.client.CertPEM, "3.pem", m.root.CertPEM, "4.pem", key,
				"5.pem", ca),
			from: "5.pem",
		},
		"a key store and a trust store": {
			content: packed(t, "k.p12", export(t, key, [][]byte{whole}, "-passout", "pass:changeit"), "t.jks",
				trustStore(t, "JKS", m.server)),
			from: "t.jks",
		},
		"an encrypted key": {
			content: packed(t, "k", m.opensslKey(t, "pkcs8", "-topk8"), "c", whole, "ca", ca), from: "ca",
		},
		"a key in DER (PKCS#8)":          {content: packed(t, "k.der", der, "c", whole, "ca", ca), from: "ca"},
		"a key in DER (SEC 1)":           {content: packed(t, "k.der", sec1, "c", whole, "ca", ca), from: "ca"},
		"a key in DER, encrypted":        {content: packed(t, "k.der", encrypted.Bytes, "c", whole, "ca", ca), from: "ca"},
		"the same key in PEM and in DER": {content: packed(t, "k.pem", key, "k.der", der, "c", whole, "ca", ca), from: "ca"},
		"a key in DER that nobody supports": {
			content: packed(t, "k.der", block448(t), "c", whole),
			err: `"k.der" in the archive: "k.der" (private key) is an Ed448 key, which the sidecar doesn't support: ask the ` +
				"issuer for a certificate with an RSA or ECDSA P-256 key",
		},
		"a CA, and a client without its root": {
			content: packed(t, "c", chain, "k", key, "ca", ca),
			err: `the archive holds a CA in "ca", but not the issuer of subject "CN=Partner Client CA", serial ` +
				hex.EncodeToString(m.issuing.Certificate.SerialNumber.Bytes()) + " in the chain of the client certificate: the " +
				"CA can be that of the client or that of the server. If the partner says that it signs the server certificate, " +
				"choose it with --server-ca archive:NAME",
		},
		"the root of a client without its intermediate": {
			content: packed(t, "c", m.client.CertPEM, "k", key, "root", m.root.CertPEM),
			err: `the archive holds a CA in "root", but not the issuer of subject "CN=orders", serial 0a1b2c in the chain of ` +
				"the client certificate: the CA can be that of the client or that of the server. If the partner says that it " +
				"signs the server certificate, choose it with --server-ca archive:NAME",
		},
		"a client without its root, and the CA is elsewhere": {
			content: packed(t, "c", chain, "k", key, "ca", ca), serverCA: credential.NotInArchive,
		},
		"no CA of the server": {
			content: packed(t, "c", chain, "k", key, "root", m.root.CertPEM),
		},
		"a CA for both, which is named": {
			content:  packed(t, "c", chain, "k", key, "r", m.root.CertPEM),
			serverCA: "r",
			from:     "r",
		},
		"a CA that is named and isn't there": {
			content:  packed(t, "c", chain, "k", key, "r", ca),
			serverCA: "/tmp/x",
		},
		"two that can be the CA": {
			content: packed(t, "c", chain, "k", key, "a", ca, "b", pki.NewCA(t, "Other").CertPEM),
			err: `the archive holds several files that can be the CA of the server ("a"; "b"): choose one with ` +
				"--server-ca archive:NAME",
		},
		"no key": {
			content: packed(t, "c", chain),
			err: "the archive holds no private key: it must hold the key, its certificates and the CA of the server, or a " +
				"PKCS#12 file",
		},
		"two keys": {
			content: packed(t, "c", chain, "k", key, "l", m.server.KeyPEM),
			err:     `the archive holds 2 different private keys ("k"; "l"): import the file with the right one`,
		},
		"a key alone": {
			content: packed(t, "k", key),
			err: "the archive holds a private key but no certificate: request the certificate, and join both with " +
				"credential complete",
		},
		"a path that leads out of it": {
			content: packed(t, "../../etc/cron.d/x", key),
			err:     `the archive holds the path "../../etc/cron.d/x", which leads out of it: request an archive of plain files`,
		},
		"a path from the root": {
			content: packed(t, "/etc/x", key),
			err:     `the archive holds the path "/etc/x", which leads out of it: request an archive of plain files`,
		},
		"a path of Windows": {
			content: packed(t, `..\x`, key),
			err:     `the archive holds the path "..\\x", which leads out of it: request an archive of plain files`,
		},
		"a link": {
			content: link(),
			err:     `the archive holds "key.pem", which is not a plain file: request an archive of plain files`,
		},
		"a name twice": {
			content: packed(t, "k", key, "k", m.server.KeyPEM),
			err:     `the archive holds the file "k" twice: request it again`,
		},
		"more files than are read": {
			content: packed(t, many...),
			err:     "the archive holds 101 files: at most 100 are read; keep the key, the certificates and the CA",
		},
		"a file that unpacks to more than its size": {
			content: packed(t, "k", make([]byte, 2<<20)),
			err: `the file "k" makes the archive too large: at most 1048576 bytes of a file are read, and ` +
				"4194304 of all files",
		},
		"files that are too large together": {
			content: packed(t, "1", make([]byte, 1<<20), "2", make([]byte, 1<<20), "3", make([]byte, 1<<20), "4",
				make([]byte, 1<<20), "5", []byte("x")),
			err: `the file "5" makes the archive too large: at most 1048576 bytes of a file are read, and ` +
				"4194304 of all files",
		},
		"an encrypted archive": {
			content: locked, err: "the archive itself is encrypted: unpack it, and import its files",
		},
		"a damaged file": {
			content: damaged, err: `the file "key.pem" in the archive is damaged; download the archive again in binary mode`,
		},
		"half an archive": {
			content: packed(t, "k", key)[:100],
			err:     "the file is a damaged ZIP archive; download it again in binary mode",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			parcel, err := credential.ReadArchive(test.content, "changeit", test.serverCA)
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("got  %v\nwant %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			m.checkBundle(t, parcel.Bundle)
			if parcel.ServerCAFile != test.from || len(parcel.Bundle.Findings) != test.findings ||
				(test.from != "") != (len(parcel.ServerCA.Certificates) == 1) {
				t.Errorf("the CA of the server from %q: %v, findings: %v", parcel.ServerCAFile,
					parcel.ServerCA.Certificates, parcel.Bundle.Findings)
			}
		})
	}
	t.Run("an RSA key in DER (PKCS#1)", func(t *testing.T) {
		key := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
		template := orders()
		template.Key = key
		client := m.issuing.Issue(t, template)
		parcel := must[credential.Parcel](t)(credential.ReadArchive(packed(t, "k", x509.MarshalPKCS1PrivateKey(key), "c",
			slices.Concat(client.CertPEM, m.issuing.CertPEM)), "", credential.NotInArchive))
		if !key.Equal(parcel.Bundle.PrivateKey) {
			t.Error("another key was read")
		}
	})
	t.Run("a wrong password", func(t *testing.T) {
		content := packed(t, "k", m.opensslKey(t, "ec", "-aes128"), "c", chain)
		_, err := credential.ReadArchive(content, "x", "")
		if !wrong(err) || !credential.ArchiveNeedsPassword(content) {
			t.Errorf("%v", err)
		}
	})
}

// TestArchivesKeepTheFindings has an unreadable certificate in each kind of file, as [Assemble]
// reports it with all other findings.
func TestArchivesKeepTheFindings(t *testing.T) {
	m := newMail(t)
	whole := slices.Concat(m.client.CertPEM, m.issuing.CertPEM, m.root.CertPEM)
	unreadable := opensslCA(t, "Brainpool CA", curve("brainpoolP256r1")...)
	decoded, _ := pem.Decode(unreadable)
	const why = "cannot be read: x509: unsupported elliptic curve"
	inChain := func(name, which string) string {
		return fmt.Sprintf(`%q (client certificate): certificate %s (subject "CN=Brainpool CA") is skipped, because it %s; `+
			"if it belongs to the chain of the client certificate, request it again from the issuer", name, which, why)
	}
	tests := map[string]struct {
		content []byte
		// want are the messages of the findings, or those until err.
		want []string
		err  string
	}{
		"PEM": {
			content: packed(t, "k", m.client.KeyPEM, "c", slices.Concat(whole, unreadable), "ca", m.server.CertPEM),
			want:    []string{inChain("c", "4 of 4")},
		},
		"a key store": {
			content: packed(t, "k.p12", export(t, m.client.KeyPEM, [][]byte{whole, unreadable}, "-passout", "pass:changeit"),
				"ca", m.server.CertPEM),
			want: []string{`"k.p12" in the archive: certificate 4 of 4 in the file (subject "CN=Brainpool CA") can't ` +
				"be read: its key is an ECDSA key on the curve brainpoolP256r1, which the sidecar doesn't support: ask the " +
				"issuer for a certificate with an RSA or ECDSA P-256 key; it is omitted"},
		},
		"a trust store that isn't the CA": {
			content: packed(t, "k", m.client.KeyPEM, "c", whole, "ca", m.server.CertPEM, "t.p12",
				export(t, nil, [][]byte{m.root.CertPEM, unreadable}, "-passout", "pass:changeit")),
			want: []string{inChain("t.p12", "2 of 2")},
		},
		"the CA of the server, once": {
			content: packed(t, "k", m.client.KeyPEM, "c", whole, "ca", slices.Concat(m.server.CertPEM, unreadable)),
			want: []string{`"ca" (CA of the server): certificate 2 of 2 (subject "CN=Brainpool CA") is skipped, because it ` +
				why + "; if it signs the server's certificate, ask the partner for a CA with an RSA key or a key on P-256 or " +
				"P-384; otherwise remove it"},
		},
		"until there is no key": {
			content: packed(t, "c", slices.Concat(whole, unreadable), "x", []byte("x")),
			want: []string{inChain("c", "4 of 4"),
				`the file "x" in the archive is ignored: it holds neither a private key nor a certificate`},
			err: "the archive holds no private key: it must hold the key, its certificates and the CA of the server, or a " +
				"PKCS#12 file",
		},
		"until a file holds nothing else": {
			content: packed(t, "x", []byte("x"), "c.cer", decoded.Bytes),
			want:    []string{`the file "x" in the archive is ignored: it holds neither a private key nor a certificate`},
			err: `"c.cer" in the archive: "c.cer" (client certificate): certificate 1 of 1 (subject "CN=Brainpool CA") ` +
				why,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			parcel, err := credential.ReadArchive(test.content, "changeit", "")
			findings, message := parcel.Bundle.Findings, ""
			if err != nil {
				message = err.Error()
			} else {
				assembled := must[*credential.Assembled](t)(credential.Assemble(parcel.Bundle, parcel.ServerCA,
					credential.CertKeyLayout(), now()))
				findings = assembled.Findings
			}
			var got []string
			for _, finding := range findings {
				if finding.Reason != credential.NoSubjectAltName {
					got = append(got, finding.Message)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" || message != test.err {
				t.Errorf("error %q, want %q, findings (-want +got):\n%s", message, test.err, diff)
			}
		})
	}
}

// TestAllTrustedCertificatesAreDescribed includes one that only the sidecar can read.
func TestAllTrustedCertificatesAreDescribed(t *testing.T) {
	unreadable := opensslCA(t, "Brainpool CA", curve("brainpoolP256r1")...)
	decoded, _ := pem.Decode(unreadable)
	ca := pki.NewCA(t, "Server CA")
	authorities := must[credential.Authorities](t)(credential.ReadServerCA("ca", slices.Concat(unreadable, ca.CertPEM)))
	want := []credential.Trusted{
		{Subject: "CN=Brainpool CA", Fingerprint: credential.Fingerprint(decoded.Bytes)},
		{Subject: "CN=Server CA", Fingerprint: credential.Fingerprint(ca.Certificate.Raw)},
	}
	if diff := cmp.Diff(want, authorities.Trusted()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// block448 is an Ed448 key in DER, which crypto/x509 doesn't parse.
func block448(t *testing.T) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), "openssl", "genpkey", "-algorithm", "ED448", "-outform", "DER")
	return must[[]byte](t)(command.Output())
}

// namesFile reports whether the name of a file in an archive contains a text. Messages print names.
func namesFile(archive []byte, text string) bool {
	files, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	return err == nil &&
		slices.ContainsFunc(files.File, func(file *zip.File) bool { return strings.Contains(file.Name, text) })
}

// FuzzMail checks that no file makes a reader panic, or put key material into a message. The
// canary is in the middle of the file.
func FuzzMail(f *testing.F) {
	m := newMail(f)
	seeds := [][]byte{
		slices.Concat(m.client.KeyPEM, m.client.CertPEM), packed(f, "k", m.client.KeyPEM, "c", m.client.CertPEM),
		packed(f, "../k", m.client.KeyPEM), []byte("PK\x03\x04"),
		[]byte("-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAA==\n" +
			"-----END EC PRIVATE KEY-----\n"),
	}
	for _, name := range []string{"java.jks", "java.jceks", "keystore-encrypted.pem", "holds-trust.p12"} {
		seeds = append(seeds, must[[]byte](f)(os.ReadFile("testdata/keystores/"+name)))
	}
	for _, seed := range seeds {
		f.Add(seed[:len(seed)/2], seed[len(seed)/2:], "changeit")
		f.Add(seed, []byte{}, "")
	}
	f.Fuzz(func(t *testing.T, head, tail []byte, password string) {
		for _, content := range withCanary(head, tail) {
			bundle, err := credential.ReadKeyStore("mail", content, password)
			if err == nil && (bundle.PrivateKey == nil || len(bundle.Certificates) == 0) {
				t.Error("neither a credential nor an error")
			}
			parcel, parcelErr := credential.ReadArchive(content, password, "")
			if parcelErr == nil && parcel.Bundle.PrivateKey == nil {
				t.Error("neither a credential nor an error")
			}
			if namesFile(content, canary) {
				parcelErr = nil
			}
			_, trustErr := credential.ReadTrustStore("mail", content, password)
			for _, err := range []error{err, parcelErr, trustErr} {
				if err == nil {
					continue
				}
				for message := range strings.SplitSeq(err.Error(), "\n") {
					checkMessage(t, message)
				}
			}
		}
	})
}
