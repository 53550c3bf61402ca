package credential_test

import (
	"archive/zip"
	"bytes"
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
			err:     `"ca" (CA of the server): the file has a password, and none was given`,
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
	key, ca := m.client.KeyPEM, m.server.CertPEM
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
			content: packed(t, "client.crt", chain, "client.key", key, "server-ca.crt", ca), from: "server-ca.crt",
		},
		"in a folder, with other files": {
			content: packed(t, "Partner/", []byte{}, "Partner/README.pdf", []byte("%PDF"), "Partner/a.pem",
				slices.Concat([]byte("hello\n"), key, chain), "Partner/ca.cer", m.server.Certificate.Raw,
				"__MACOSX/Partner/._a.pem", []byte{0}),
			from: "Partner/ca.cer", findings: 1,
		},
		"a certificate in each file": {
			content: packed(t, "1.pem", m.issuing.CertPEM, "2.pem", m.client.CertPEM, "3.pem", m.root.CertPEM, "4.pem", key,
				"5.pem", ca),
			from: "5.pem",
		},
		"a key store and a trust store": {
			content: packed(t, "k.p12", export(t, key, [][]byte{chain}, "-passout", "pass:changeit"), "t.jks",
				trustStore(t, "JKS", m.server)),
			from: "t.jks",
		},
		"an encrypted key": {
			content: packed(t, "k", m.opensslKey(t, "pkcs8", "-topk8"), "c", chain, "ca", ca), from: "ca",
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
				"--server-ca NAME",
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
	t.Run("a wrong password", func(t *testing.T) {
		content := packed(t, "k", m.opensslKey(t, "ec", "-aes128"), "c", chain)
		_, err := credential.ReadArchive(content, "x", "")
		if !wrong(err) || !credential.ArchiveNeedsPassword(content) {
			t.Errorf("%v", err)
		}
	})
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
