package partner

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mtls.egress/webhook/test/await"
	"mtls.egress/webhook/test/pki"
)

const serverName = "external.system.com"

// running is a partner on loopback.
type running struct {
	*Server
	Client
	folder string
	// ca signs the servers, clientCA the clients.
	ca, clientCA *pki.CA
}

// start runs a partner until the test ends.
func start(t *testing.T, clientAuth ClientAuth) *running {
	t.Helper()
	p := &running{folder: t.TempDir(), ca: pki.NewCA(t, "server CA"), clientCA: pki.NewCA(t, "client CA")}
	p.putPair(t, "default", pki.Server("default.example.com"))
	p.putPair(t, "external", pki.Server(serverName))
	p.put(t, "client-ca.crt", p.clientCA.CertPEM)
	server, err := Listen(t.Context(), Options{
		Plain: []string{"127.0.0.1:0"}, TLS: []string{"127.0.0.1:0"}, Control: "127.0.0.1:0",
		Certificates: p.folder, ClientAuth: clientAuth, Log: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Server = server
	p.Get = func(ctx context.Context, path string) ([]byte, error) {
		return fetch(ctx, fmt.Sprintf("http://127.0.0.1:%d%s", server.ControlPort(), path))
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the partner ended with %v", err)
		}
	})
	return p
}

func (p *running) put(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.folder, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p *running) putPair(t *testing.T, name string, template pki.Template) {
	t.Helper()
	pair := p.ca.Issue(t, template)
	p.put(t, name+".crt", pair.CertPEM)
	p.put(t, name+".key", pair.KeyPEM)
}

func (p *running) plainAddress() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.PlainPorts()[0]))
}

func (p *running) tlsAddress() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.TLSPorts()[0]))
}

// client calls the TLS port whatever the URL's host is, with the certificates given.
func (p *running) client(t *testing.T, http2 bool, certificates ...pki.Pair) *http.Client {
	t.Helper()
	config := &tls.Config{RootCAs: p.ca.Pool(), ServerName: serverName}
	for _, pair := range certificates {
		loaded := tlsPair(t, pair)
		// Among config.Certificates Go would choose none of an authority that the server does not name.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &loaded, nil }
	}
	transport := &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: http2,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", p.tlsAddress())
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func tlsPair(t *testing.T, pair pki.Pair) tls.Certificate {
	t.Helper()
	loaded, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// wellKnown is a client certificate whose recorded form is wellKnownRecord.
func (p *running) wellKnown(t *testing.T) pki.Pair {
	t.Helper()
	template := pki.Client("app")
	template.SerialNumber = big.NewInt(0xabc1)
	template.DNSNames = []string{"client.example.com"}
	template.URIs = []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/project/sa/app"}}
	// In an order that is not the usual one, with an attribute that has no short name.
	subject, err := subjectDER(pkix.RDNSequence{
		{{Type: []int{2, 5, 4, 3}, Value: "app"}},
		{{Type: []int{2, 5, 4, 6}, Value: "DE"}},
		{{Type: []int{2, 5, 4, 10}, Value: "Example, Inc."}},
	})
	if err != nil {
		t.Fatal(err)
	}
	template.RawSubject = subject
	return p.clientCA.Issue(t, template)
}

func wellKnownRecord() *ClientCertificate {
	return &ClientCertificate{
		Subject: `O=Example\, Inc.,C=DE,CN=app`, Issuer: "CN=client CA", SerialNumber: "abc1",
		DNSNames: []string{"client.example.com"}, URIs: []string{"spiffe://cluster.local/ns/project/sa/app"},
	}
}

// fetch returns the body of an answer 200.
func fetch(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return body, err
}

// ended waits until the partner has seen so many connections, all of them ended.
func (p *running) ended(t *testing.T, count int) []Connection {
	t.Helper()
	return p.await(t, func(connections []Connection) bool {
		for _, c := range connections {
			if c.Ended.IsZero() {
				return false
			}
		}
		return len(connections) >= count
	})
}

// await asks until the connections are as wanted.
func (p *running) await(t *testing.T, wanted func([]Connection) bool) []Connection {
	t.Helper()
	var connections []Connection
	await.Eventually(t, "the connections are as wanted", func() (err error) {
		if connections, err = p.Connections(t.Context(), Filter{}); err == nil && !wanted(connections) {
			err = fmt.Errorf("they are %+v", connections)
		}
		return err
	})
	return connections
}

// theSame compares all but times, ports and hashes of certificates, which no test chooses.
func theSame() cmp.Options {
	return cmp.Options{
		cmpopts.IgnoreFields(Connection{}, "Began", "Ended", "Port"),
		cmpopts.IgnoreFields(Request{}, "At"),
		cmpopts.IgnoreFields(ClientCertificate{}, "SHA256"),
	}
}

const (
	emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	helloSHA256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
)

func TestEveryConnectionIsRecordedFromItsFirstByte(t *testing.T) {
	tests := map[string]struct {
		// call makes one connection and leaves it closed.
		call func(t *testing.T, p *running)
		want Connection
	}{
		"HTTP/1.1 over mutual TLS": {
			call: func(t *testing.T, p *running) {
				post(t, p.client(t, false, p.wellKnown(t)), "https://external.system.com/orders/1?x=y")
			},
			want: Connection{
				Kind: KindTLS, TLSVersion: "TLS 1.3", SNI: serverName, Client: wellKnownRecord(), Requests: 1,
				FirstRequests: []Request{posted("HTTP/1.1")},
			},
		},
		"HTTP/2 over mutual TLS": {
			call: func(t *testing.T, p *running) {
				post(t, p.client(t, true, p.wellKnown(t)), "https://external.system.com/orders/1?x=y")
			},
			want: Connection{
				Kind: KindTLS, TLSVersion: "TLS 1.3", SNI: serverName, ALPN: "h2", Client: wellKnownRecord(), Requests: 1,
				FirstRequests: []Request{posted("HTTP/2.0")},
			},
		},
		"a TLS caller without a certificate": {
			call: func(t *testing.T, p *running) { refused(t, p.client(t, false)) },
			want: Connection{Kind: KindTLS, SNI: serverName, HandshakeError: "tls: client didn't provide a certificate"},
		},
		"a TLS caller with a certificate of another authority": {
			call: func(t *testing.T, p *running) {
				refused(t, p.client(t, false, pki.NewCA(t, "another CA").Issue(t, withSerial(pki.Client("stranger"), 0x1f))))
			},
			want: Connection{
				Kind: KindTLS, SNI: serverName,
				HandshakeError: "tls: failed to verify certificate: x509: certificate signed by unknown authority",
				Client:         &ClientCertificate{Subject: "CN=stranger", Issuer: "CN=another CA", SerialNumber: "1f"},
			},
		},
		"a caller that does not trust the partner": {
			call: func(t *testing.T, p *running) {
				client := p.client(t, false, p.wellKnown(t))
				client.Transport.(*http.Transport).TLSClientConfig.RootCAs = x509.NewCertPool()
				refused(t, client)
			},
			want: Connection{Kind: KindTLS, SNI: serverName, HandshakeError: "remote error: tls: bad certificate"},
		},
		"a plain request on the plain port": {
			call: func(t *testing.T, p *running) {
				exchange(t, p.plainAddress(), "GET /a HTTP/1.0\r\nUser-Agent: me\r\n\r\n", "HTTP/1.0 200 OK\r\n")
			},
			want: Connection{
				Kind: KindPlain, PlaintextBytes: 35, Plaintext: []byte("GET /a HTTP/1.0\r\nUser-Agent: me\r\n\r\n"), Requests: 1,
				FirstRequests: []Request{{
					Method:      "GET",
					Path:        "/a",
					HTTPVersion: "HTTP/1.0",
					Headers:     http.Header{"User-Agent": {"me"}},
					BodySHA256:  emptySHA256,
				}},
			},
		},
		"a plain request on the TLS port": {
			call: func(t *testing.T, p *running) {
				exchange(t, p.tlsAddress(), "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
					"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
			},
			want: Connection{
				Kind: KindPlain, PlaintextBytes: 53, Plaintext: []byte("POST /a HTTP/1.1\r\n" +
					"Host: h\r\nContent-Length: 5\r\n\r\nhello"), Requests: 1,
				FirstRequests: []Request{{
					Method: "POST", Host: "h", Path: "/a", HTTPVersion: "HTTP/1.1", Headers: http.Header{"Content-Length": {"5"}},
					BodyLength: 5, BodySHA256: helloSHA256,
				}},
			},
		},
		"something else on the TLS port, more than is kept": {
			call: func(t *testing.T, p *running) {
				exchange(t, p.tlsAddress(), strings.Repeat("garbage\n", 1000), "HTTP/1.0 400 Bad Request\r\n")
			},
			want: Connection{Kind: KindPlain, PlaintextBytes: 8000, Plaintext: []byte(strings.Repeat("garbage\n", 128))},
		},
		"something else on the plain port": {
			call: func(t *testing.T, p *running) {
				exchange(t, p.plainAddress(), "garbage /a\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n")
			},
			want: Connection{Kind: KindPlain, PlaintextBytes: 14, Plaintext: []byte("garbage /a\r\n\r\n")},
		},
		"TLS on the plain port": {
			call: func(t *testing.T, p *running) {
				dialed := dial(t, p.plainAddress())
				if err := tls.Client(dialed, &tls.Config{ServerName: serverName}).HandshakeContext(t.Context()); err == nil {
					t.Error("the plain port spoke TLS")
				}
				_ = dialed.Close()
			},
			want: Connection{Kind: KindTLS, HandshakeError: "the port speaks no TLS"},
		},
		"a connection on which nothing is said": {
			call: func(t *testing.T, p *running) { _ = dial(t, p.tlsAddress()).Close() },
			want: Connection{Kind: KindEmpty},
		},
		"a handshake that stops in the middle": {
			call: func(t *testing.T, p *running) {
				dialed := dial(t, p.tlsAddress())
				send(t, dialed, "\x16\x03\x01\x02\x00half of a hello")
				_ = dialed.Close()
			},
			want: Connection{Kind: KindTLS, HandshakeError: "unexpected EOF"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := start(t, ClientAuthRequire)
			test.call(t, p)
			test.want.ID, test.want.RemoteIP = 1, "127.0.0.1"
			got := p.ended(t, 1)
			if diff := cmp.Diff([]Connection{test.want}, got, theSame()); diff != "" {
				t.Error("(-want +got):\n" + diff)
			}
		})
	}
}

func withSerial(template pki.Template, serial int64) pki.Template {
	template.SerialNumber = big.NewInt(serial)
	return template
}

// post sends a request and lets its connection end.
func post(t *testing.T, client *http.Client, address string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"User-Agent": {"me"}, "Accept-Encoding": {"identity"}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	client.CloseIdleConnections()
}

// posted is the record of post.
func posted(version string) Request {
	return Request{
		Method: "POST", Host: serverName, Path: "/orders/1?x=y", HTTPVersion: version,
		Headers:    http.Header{"User-Agent": {"me"}, "Accept-Encoding": {"identity"}, "Content-Length": {"5"}},
		BodyLength: 5, BodySHA256: helloSHA256,
	}
}

// refused calls and wants no answer.
func refused(t *testing.T, client *http.Client) {
	t.Helper()
	_ = fails(t, client, "https://external.system.com/")
	client.CloseIdleConnections()
}

// fails calls and returns why there is no answer.
func fails(t *testing.T, client *http.Client, address string) error {
	t.Helper()
	response, err := client.Get(address)
	if err == nil {
		_ = response.Body.Close()
		t.Fatalf("the call was answered with %s", response.Status)
	}
	return err
}

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	dialed, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialed.Close() })
	return dialed.(*net.TCPConn)
}

func send(t *testing.T, to io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(to, text); err != nil {
		t.Fatal(err)
	}
}

// exchange sends the text and wants an answer that begins so, until the other side closes.
func exchange(t *testing.T, address, text, want string) {
	t.Helper()
	dialed := dial(t, address)
	send(t, dialed, text)
	if err := dialed.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(dialed)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(answer), want) {
		t.Errorf("the answer is %q; it must begin with %q", answer, want)
	}
	_ = dialed.Close()
}

func TestAnOpenConnectionIsSeenBeforeItSaysAnything(t *testing.T) {
	p := start(t, ClientAuthRequire)
	dialed := dial(t, p.tlsAddress())
	got := p.await(t, func(connections []Connection) bool { return len(connections) == 1 })
	if diff := cmp.Diff(Connection{ID: 1, RemoteIP: "127.0.0.1", Kind: KindEmpty}, got[0], theSame()); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
	if !got[0].Ended.IsZero() {
		t.Error("the connection is said to have ended")
	}
	_ = dialed.Close()
	p.ended(t, 1)
}

func TestClientAuthentication(t *testing.T) {
	type outcome struct{ Without, Trusted, Stranger bool }
	tests := map[ClientAuth]outcome{
		ClientAuthRequire: {Trusted: true},
		ClientAuthRequest: {Without: true, Trusted: true},
		ClientAuthNone:    {Without: true, Trusted: true, Stranger: true},
	}
	for clientAuth, want := range tests {
		t.Run(string(clientAuth), func(t *testing.T) {
			p := start(t, clientAuth)
			answered := func(certificates ...pki.Pair) bool {
				response, err := p.client(t, false, certificates...).Get("https://external.system.com/")
				if err == nil {
					_ = response.Body.Close()
				}
				return err == nil
			}
			got := outcome{
				Without:  answered(),
				Trusted:  answered(p.wellKnown(t)),
				Stranger: answered(pki.NewCA(t, "another CA").Issue(t, pki.Client("stranger"))),
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error("(-want +got):\n" + diff)
			}
		})
	}
}

func TestCountsAreExact(t *testing.T) {
	p := start(t, ClientAuthRequire)
	first := p.clientCA.Issue(t, withSerial(pki.Client("first"), 0x1))
	second := p.clientCA.Issue(t, withSerial(pki.Client("second"), 0x2))
	for _, certificate := range []pki.Pair{first, first, second} {
		client := p.client(t, false, certificate)
		for range 25 {
			get(t, client, "https://external.system.com/case/a")
		}
		for range 5 {
			get(t, client, "https://external.system.com/case/b/deeper")
		}
		post(t, client, "https://external.system.com/case/b")
	}
	exchange(t, p.plainAddress(), "GET /case/a HTTP/1.0\r\n\r\n", "HTTP/1.0 200")
	p.ended(t, 4)

	byClient := func(requests int) (map[string]ClientSummary, map[string]ClientSummary) {
		one, two := ClientSummary{Connections: 2, Requests: 2 * requests}, ClientSummary{Connections: 1, Requests: requests}
		return map[string]ClientSummary{"1": one, "2": two}, map[string]ClientSummary{"CN=first": one, "CN=second": two}
	}
	all := Summary{
		Connections:      4,
		PlainConnections: 1,
		TLSConnections:   3,
		PlaintextBytes:   24,
		Requests:         3*31 + 1,
		PlainRequests:    1,
		Posts:            3,
	}
	b := Summary{Connections: 3, TLSConnections: 3, Requests: 3 * 6, Posts: 3}
	all.ByClientSerial, all.ByClientSubject = byClient(31)
	b.ByClientSerial, b.ByClientSubject = byClient(6)
	plain := Summary{
		Connections: 1, PlainConnections: 1, PlaintextBytes: 24, Requests: 1, PlainRequests: 1,
		ByClientSerial: map[string]ClientSummary{}, ByClientSubject: map[string]ClientSummary{},
	}
	none := Summary{ByClientSerial: map[string]ClientSummary{}, ByClientSubject: map[string]ClientSummary{}}
	tests := map[string]struct {
		filter Filter
		want   Summary
	}{
		"everything":               {Filter{}, all},
		"by the caller's address":  {Filter{Remote: "127.0.0.1"}, all},
		"of a path":                {Filter{Path: "/case/b"}, b},
		"of a port":                {Filter{Port: p.PlainPorts()[0]}, plain},
		"of a port and a path":     {Filter{Port: p.PlainPorts()[0], Path: "/case/a"}, plain},
		"of a path without a call": {Filter{Path: "/case/c"}, none},
		"of another caller":        {Filter{Remote: "127.0.0.2"}, none},
		"after the last one":       {Filter{After: 4}, none},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := p.Summary(t.Context(), test.filter)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(ClientSummary{}, "FirstSeen", "LastSeen")); diff != "" {
				t.Error("(-want +got):\n" + diff)
			}
		})
	}
}

// get wants an answer 200 and returns its body.
func get(t *testing.T, client *http.Client, address string) []byte {
	t.Helper()
	response, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %s", address, response.Status, body)
	}
	return body
}

func TestAnswers(t *testing.T) {
	p := start(t, ClientAuthRequire)
	client := p.client(t, false, p.wellKnown(t))
	base := "https://external.system.com"
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("what the partner saw, as one line of JSON", func(t *testing.T) {
		certificate := p.await(t, func(connections []Connection) bool {
			get(t, client, base+"/a/b?c=d")
			return len(connections) > 0
		})[0].Client
		want := fmt.Sprintf(`{"partner":%q,"connection":1,"plain":false,"client":{"subject":"O=Example\\, `+
			`Inc.,C=DE,CN=app","issuer":"CN=client CA","dnsNames":["client.example.com"],`+
			`"uris":["spiffe://cluster.local/ns/project/sa/app"],"serialNumber":"abc1","sha256":%q},"method":"GET",`+
			`"path":"/a/b?c=d","host":"external.system.com","httpVersion":"HTTP/1.1",`+
			`"headers":{"Accept-Encoding":["gzip"],"User-Agent":["Go-http-client/1.1"]},"bodyLength":0}`+"\n",
			name, certificate.SHA256)
		if diff := cmp.Diff(want, string(get(t, client, base+"/a/b?c=d"))); diff != "" {
			t.Error("(-want +got):\n" + diff)
		}
	})
	t.Run("without TLS it says so, and null for the client", func(t *testing.T) {
		body, err := fetch(t.Context(), "http://"+p.plainAddress()+"/a")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(body, []byte(`"plain":true,"client":null,`)) {
			t.Errorf("the answer is %s", body)
		}
	})
	t.Run("a status", func(t *testing.T) {
		response, err := client.Get(base + "/?status=503")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("the status is %s", response.Status)
		}
	})
	t.Run("a body of a length, after a delay", func(t *testing.T) {
		if got := get(t, client, base+"/?delay=1ms&bytes=100000"); len(got) != 100000 {
			t.Errorf("the body has %d bytes", len(got))
		}
	})
	t.Run("a connection that is closed", func(t *testing.T) {
		err := fails(t, p.client(t, false, p.wellKnown(t)), base+"/?close=before")
		if !errors.Is(err, io.EOF) {
			t.Errorf("the call ended with %v", err)
		}
	})
	t.Run("a connection that is reset", func(t *testing.T) {
		err := fails(t, p.client(t, false, p.wellKnown(t)), base+"/?reset=1")
		if !strings.Contains(err.Error(), "connection reset by peer") {
			t.Errorf("the call ended with %v", err)
		}
	})
	t.Run("all that is wrong with what was asked for", func(t *testing.T) {
		_, err := fetch(t.Context(), "http://"+p.plainAddress()+"/?status=42&delay=soon&close=after&reset=no&bytes=-1")
		want := `400 Bad Request: parameter status=42: it must be from 200 to 599
parameter delay=soon: time: invalid duration "soon"
parameter close=after: it must be before
parameter reset=no: strconv.ParseBool: parsing "no": invalid syntax
parameter bytes=-1: it must not be negative
`
		if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
			t.Error("(-want +got):\n" + diff)
		}
	})
}

func TestControlPortRefusesAFilterThatItDoesNotKnow(t *testing.T) {
	p := start(t, ClientAuthRequire)
	_, err := p.Get(t.Context(), "/summary?prefix=/a")
	want := "400 Bad Request: parameter prefix=/a: there is no such filter; there are path, remote, port and after\n"
	if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
	if body, err := p.Get(t.Context(), "/healthz"); err != nil || string(body) != "ok\n" {
		t.Errorf("healthz answers %q, %v", body, err)
	}
}

func TestListenNamesWhatIsWrong(t *testing.T) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	empty, pairOnly := t.TempDir(), &running{folder: t.TempDir(), ca: pki.NewCA(t, "server CA")}
	pairOnly.putPair(t, "default", pki.Server(serverName))
	tests := map[string]struct {
		options Options
		want    string
	}{
		"client authentication of no known kind": {
			Options{ClientAuth: "maybe"},
			`client authentication "maybe": it must be require, request or none`,
		},
		"a folder without a certificate": {
			Options{ClientAuth: ClientAuthNone, TLS: []string{"127.0.0.1:0"}, Certificates: empty},
			empty + " holds no default.crt: there must be a certificate for callers that no other fits",
		},
		"nobody who may sign clients": {
			Options{ClientAuth: ClientAuthRequire, TLS: []string{"127.0.0.1:0"}, Certificates: pairOnly.folder},
			"client authentication require: " + pairOnly.folder + " holds no client-ca.crt",
		},
		"a port that is taken": {
			Options{ClientAuth: ClientAuthNone, Plain: []string{taken.Addr().String()}},
			fmt.Sprintf("listen on %q: listen tcp %s: bind: address already in use", taken.Addr(), taken.Addr()),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.options.Control = "127.0.0.1:0"
			_, err := Listen(t.Context(), test.options)
			if diff := cmp.Diff(test.want, fmt.Sprint(err)); diff != "" {
				t.Error("(-want +got):\n" + diff)
			}
		})
	}
}
