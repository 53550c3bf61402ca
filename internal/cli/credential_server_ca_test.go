package cli

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/test/pki"
)

const partnerHost = "external.system.com"

func partnerNow() time.Time { return time.Date(2026, time.July, 1, 12, 0, 0, 0, time.UTC) }

// visit is what a client sent to a partner: its certificates, and what followed the handshake.
type visit struct {
	certificates int
	sent         string
}

// partner is a server with a chain. It requires a certificate of clients, if it is not nil.
func partner(t *testing.T, clients *pki.CA, chain ...pki.Pair) (address string, visits <-chan visit) {
	t.Helper()
	own := tls.Certificate{PrivateKey: chain[0].Key}
	for _, pair := range chain {
		own.Certificate = append(own.Certificate, pair.Certificate.Raw)
	}
	config := &tls.Config{Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12}
	if clients != nil {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, clients.Pool()
	}
	return listen(t, func(connection net.Conn) visit {
		server := tls.Server(connection, config)
		sent, _ := io.ReadAll(server)
		return visit{len(server.ConnectionState().PeerCertificates), string(sent)}
	})
}

// listen serves one connection after another, and returns what serve returns.
func listen(t *testing.T, serve func(net.Conn) visit) (address string, visits <-chan visit) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	seen := make(chan visit, 10)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			seen <- serve(connection)
			_ = connection.Close()
		}
	}()
	return listener.Addr().String(), seen
}

// published is the extension with the address of the issuer (RFC 5280 §4.2.2.1).
func published(t *testing.T, url string) pkix.Extension {
	t.Helper()
	value, err := asn1.Marshal([]struct {
		Method   asn1.ObjectIdentifier
		Location asn1.RawValue
	}{{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 2}, asn1.RawValue{Class: 2, Tag: 6, Bytes: []byte(url)}}})
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 1}, Value: value}
}

// stable replaces what differs between runs: ports, serial numbers, digests and folders.
func stable(text, folder string) string {
	for pattern, replacement := range map[string]string{
		`127\.0\.0\.1:\d+`:                     "127.0.0.1:PORT",
		`serial (number: )?[0-9a-f]+`:          "serial ${1}SERIAL",
		`"serialNumber": "[0-9a-f]+"`:          `"serialNumber": "SERIAL"`,
		`[0-9a-f]{64}`:                         "DIGEST",
		`([0-9A-F]{2}:){31}[0-9A-F]{2}`:        "FINGERPRINT",
		regexp.QuoteMeta(folder + string('/')): "",
	} {
		text = regexp.MustCompile(pattern).ReplaceAllString(text, replacement)
	}
	return text
}

// servers are the partners of the tests of server-ca.
type servers struct {
	root, issuing *pki.CA
	server        pki.Pair
	folder        string
}

func newServers(t *testing.T) servers {
	t.Helper()
	root := pki.NewCA(t, "Partner Root")
	issuing := &pki.CA{Pair: root.Issue(t, pki.Template{
		Subject: pkix.Name{CommonName: "Partner Issuing CA"}, KeyUsage: x509.KeyUsageCertSign, IsCA: true,
		ExtraExtensions: []pkix.Extension{published(t, "http://pki.example/root.crt")},
	})}
	server := pki.Server(partnerHost)
	server.Subject = pkix.Name{CommonName: partnerHost}
	folder := t.TempDir()
	write(t, filepath.Join(folder, "root.pem"), string(root.CertPEM))
	write(t, filepath.Join(folder, "other.pem"), string(pki.NewCA(t, "Other").CertPEM))
	write(t, filepath.Join(folder, "both.pem"), string(issuing.CertPEM)+string(root.CertPEM))
	return servers{root, issuing, issuing.Issue(t, server), folder}
}

// run runs server-ca for a server, and returns all that it printed.
func (s servers) run(t *testing.T, address string, change func(*serverCAFlags)) (string, error) {
	t.Helper()
	flags := &serverCAFlags{output: outputText}
	flags.connect = address
	if change != nil {
		change(flags)
	}
	var out bytes.Buffer
	err := runServerCA(t.Context(), strings.NewReader(""), &out, &out, partnerHost, flags, partnerNow())
	if err != nil {
		fmt.Fprintf(&out, "error: %v\n", err)
	}
	return stable(fmt.Sprintf("%sexit code %d\n", out.String(), ExitCode(err)), s.folder), err
}

func TestServerCAShowsWhatToTrust(t *testing.T) {
	s := newServers(t)
	from := func(names ...string) func(*serverCAFlags) {
		return func(f *serverCAFlags) {
			for _, name := range names {
				f.from = append(f.from, filepath.Join(s.folder, name))
			}
		}
	}
	itself := pki.Server(partnerHost)
	itself.Subject = pkix.Name{CommonName: partnerHost}
	expired := pki.Server(partnerHost)
	expired.NotAfter = pki.Epoch().AddDate(1, 0, 0)
	// A root that has the name of the partner's, and another key.
	fake := pki.NewCA(t, "Partner Root")
	imitated := pki.Server(partnerHost)
	imitated.Subject = pkix.Name{CommonName: partnerHost}
	old := pki.NewCA(t, "Old Root")
	cross := old.Issue(t, pki.Template{Subject: s.root.Certificate.Subject, Key: s.root.Key, IsCA: true,
		KeyUsage: x509.KeyUsageCertSign})
	direct := s.root.Issue(t, imitated)
	var text strings.Builder
	for _, test := range []struct {
		sentence string
		clients  *pki.CA
		chain    []pki.Pair
		change   func(*serverCAFlags)
	}{
		{"the server sends its root", nil, []pki.Pair{s.server, s.issuing.Pair, s.root.Pair}, nil},
		{"the server sends no root, and no source has it", nil, []pki.Pair{s.server, s.issuing.Pair}, nil},
		{"a file has the root", nil, []pki.Pair{s.server, s.issuing.Pair}, from("other.pem", "root.pem")},
		{"a file has the intermediate and the root", nil, []pki.Pair{s.server}, from("both.pem")},
		{"the server sends its root, and no file has it", nil, []pki.Pair{s.server, s.issuing.Pair, s.root.Pair},
			from("other.pem")},
		{"a file has the root by its name, with another key", nil, []pki.Pair{fake.Issue(t, imitated), fake.Pair},
			from("other.pem", "root.pem")},
		{"a file has the root, and the server sends it signed by an older one", nil, []pki.Pair{direct, cross},
			from("root.pem")},
		{"the server sends its certificate alone", nil, []pki.Pair{s.server}, nil},
		{"the server signed its own certificate", nil, []pki.Pair{pki.SelfSigned(t, itself).Pair}, nil},
		{"the server asks for a client certificate", s.root, []pki.Pair{s.server, s.issuing.Pair, s.root.Pair}, nil},
		{"the server is another one", nil, []pki.Pair{s.issuing.Issue(t, pki.Server("other.example")), s.issuing.Pair,
			s.root.Pair}, nil},
		{"the certificate expired", nil, []pki.Pair{s.root.Issue(t, expired), s.root.Pair}, nil},
		{"the report as JSON", nil, []pki.Pair{s.server, s.issuing.Pair},
			func(f *serverCAFlags) { f.output = outputJSON }},
	} {
		address, visits := partner(t, test.clients, test.chain...)
		got, _ := s.run(t, address, test.change)
		fmt.Fprintf(&text, "### %s\n%s\n", test.sentence, got)
		if diff := cmp.Diff(visit{}, <-visits, cmp.AllowUnexported(visit{})); diff != "" {
			t.Errorf("%s: the server got more than a handshake (-want +got):\n%s", test.sentence, diff)
		}
	}
	compareWithGolden(t, "credential-server-ca", text.String())
}

func TestServerCASavesTheCA(t *testing.T) {
	s := newServers(t)
	address, _ := partner(t, nil, s.server, s.issuing.Pair, s.root.Pair)
	file := filepath.Join(s.folder, "ca.pem")
	save := func(f *serverCAFlags) { f.save = file }
	text, err := s.run(t, address, save)
	if err != nil || !strings.Contains(text,
		"ca.pem holds the CA. Use it as --server-ca ca.pem after you compared the fingerprint.\n") {
		t.Fatalf("%v\n%s", err, text)
	}
	content, err := os.ReadFile(file)
	if diff := cmp.Diff(string(s.root.CertPEM), string(content)); diff != "" || err != nil {
		t.Errorf("%v (-root +saved):\n%s", err, diff)
	}
	tests := map[string]struct {
		chain []pki.Pair
		file  string
		from  string
		want  string
	}{
		"the folder doesn't exist": {
			chain: []pki.Pair{s.server, s.issuing.Pair, s.root.Pair}, file: filepath.Join(s.folder, "none", "new.pem"),
			want: "error: --save none/new.pem: none is not a directory; create it, or choose another name\n" +
				"exit code 2\n",
		},
		"no file of --from has the root that the server sends": {
			chain: []pki.Pair{s.server, s.issuing.Pair, s.root.Pair}, file: filepath.Join(s.folder, "new.pem"),
			from: "other.pem",
			want: "error: no file of --from (other.pem) has the CA of external.system.com: ask the partner for the " +
				`certificate of "CN=Partner Root", and pass it in --from FILE; what the server sends is not proof` +
				"\nexit code 1\n",
		},
		"the server has another name": {
			chain: []pki.Pair{s.root.Issue(t, pki.Server("other.example")), s.root.Pair},
			file:  filepath.Join(s.folder, "new.pem"),
			want: `error: the server's certificate is for "other.example", but must be for "external.system.com": another ` +
				"server answers there, or the EgressTarget must list its name in subjectAltNames\nexit code 1\n",
		},
		"no source has a CA": {
			chain: []pki.Pair{s.server}, file: filepath.Join(s.folder, "new.pem"),
			want: `error: no source has the CA of external.system.com: ask the partner for the certificate of "CN=Partner ` +
				"Issuing CA\", and pass it in --from FILE\nexit code 1\n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			address, _ := partner(t, nil, test.chain...)
			text, _ := s.run(t, address, func(f *serverCAFlags) {
				f.save = test.file
				if test.from != "" {
					f.from = []string{filepath.Join(s.folder, test.from)}
				}
			})
			if !strings.HasSuffix(text, test.want) {
				t.Errorf("got\n%s\nwant at the end\n%s", text, test.want)
			}
			if _, err := os.Stat(filepath.Join(s.folder, "new.pem")); err == nil {
				t.Error("a file was written")
			}
			kept, err := os.ReadFile(file)
			if err != nil || !slices.Equal(kept, content) {
				t.Errorf("the file changed: %v", err)
			}
		})
	}
}

func TestServerCAChecksTheFileFirst(t *testing.T) {
	s := newServers(t)
	address, visits := partner(t, nil, s.server, s.issuing.Pair, s.root.Pair)
	text, _ := s.run(t, address, func(f *serverCAFlags) { f.save = filepath.Join(s.folder, "root.pem") })
	if want := "error: --save: root.pem already exists and is not overwritten: move it, or choose another name\n" +
		"exit code 2\n"; text != want {
		t.Errorf("got %s\nwant %s", text, want)
	}
	if len(visits) > 0 {
		t.Error("the server was called")
	}
}

// TestServerCAWarnsAboutUnreadableCAs has a CA with a curve that crypto/x509 doesn't know.
func TestServerCAWarnsAboutUnreadableCAs(t *testing.T) {
	s := newServers(t)
	file := filepath.Join(s.folder, "curves.pem")
	command := exec.CommandContext(t.Context(), "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
		"ec_paramgen_curve:brainpoolP256r1", "-nodes", "-keyout", os.DevNull, "-subj", "/CN=Brainpool CA", "-out", file)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s", output)
	}
	unreadable, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, string(unreadable)+string(s.root.CertPEM))
	address, _ := partner(t, nil, s.server, s.issuing.Pair)
	text, err := s.run(t, address, func(f *serverCAFlags) { f.from = []string{file} })
	if want := `(CA of the server): certificate 1 of 2 (subject "CN=Brainpool CA") is skipped`; err != nil ||
		!strings.HasPrefix(text, "Warning: ") || !strings.Contains(text, want) {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestServerCARefuses(t *testing.T) {
	s := newServers(t)
	write(t, filepath.Join(s.folder, "text"), "hello")
	plain, _ := listen(t, func(connection net.Conn) visit {
		_, _ = connection.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		return visit{}
	})
	closed, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	tests := map[string]struct {
		args []string
		code int
		want string
	}{
		"no host": {nil, ExitUnable, "mtls-egress-webhook credential server-ca needs an argument: HOST or HOST:PORT"},
		"a URL": {
			[]string{"https://external.system.com/"}, ExitUnable,
			`https://external.system.com/ has a scheme, "https"; write the host alone, as in "external.system.com"`,
		},
		"an invalid port, and a file that exists": {
			[]string{"external.system.com:x", "--save", s.folder}, ExitUnable,
			"external.system.com:x has the port \"x\", which is not a number; write the partner's TLS port, 1 to 65535, or " +
				"leave it out for 443\n--save: " + s.folder + " already exists and is not overwritten: move it, or choose " +
				"another name",
		},
		"an invalid address": {
			[]string{"external.system.com", "--connect", "http://192.0.2.1"}, ExitUnable,
			"--connect http://192.0.2.1: is not an address; write a name or an IP address, and :PORT if needed, as in " +
				"192.0.2.1:8443 or [2001:db8::1]:8443",
		},
		"a file that isn't there": {
			[]string{"external.system.com", "--from", filepath.Join(s.folder, "none")}, ExitUnable,
			"--from: open " + filepath.Join(s.folder, "none") + ": no such file or directory",
		},
		"a file without certificates": {
			[]string{"external.system.com", "--from", filepath.Join(s.folder, "text")}, ExitUnable,
			`--from: "` + filepath.Join(s.folder, "text") + `" (CA of the server) is not PEM: it has no BEGIN line`,
		},
		"nobody listens": {
			[]string{"external.system.com", "--connect", closed.Addr().String()}, ExitUnable,
			"this machine can't connect to " + closed.Addr().String() + ": connection refused; check the port, firewalls and " +
				"NetworkPolicies",
		},
		"a server without TLS": {
			[]string{"external.system.com", "--connect", plain}, ExitUnable,
			"the server at " + plain + " answers with HTTP in plain text: set its TLS port in spec.port of the EgressTarget",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := executeCredential("", append([]string{"server-ca"}, test.args...)...)
			if diff := cmp.Diff(test.want, stderr); diff != "" || code != test.code || stdout != "" {
				t.Errorf("exit code %d, standard output %q, error (-want +got):\n%s", code, stdout, diff)
			}
		})
	}
}

func TestAddressesToConnectTo(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1:443", "192.0.2.1:8443": "192.0.2.1:8443", "2001:db8::1": "[2001:db8::1]:443",
		"[2001:db8::1]": "[2001:db8::1]:443", "[2001:db8::1]:8443": "[2001:db8::1]:8443",
		"localhost:8443": "localhost:8443", "relay": "relay:443",
	} {
		got, err := parseAddress(text, 443)
		if err != nil || got.String() != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{":8443", "a:0", "a:x", "a:70000", "a b", "user@a", "::1::2", "192.0.2.1/24"} {
		if got, err := parseAddress(text, 443); err == nil {
			t.Errorf("%s is read as %s", text, got)
		}
	}
}
