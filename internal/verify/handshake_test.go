package verify_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/verify"
	"mtls.egress/webhook/test/pki"
)

const host = "external.system.com"

// now is within the default validity of the test certificates.
func now() time.Time { return time.Date(2026, time.July, 1, 12, 0, 0, 0, time.UTC) }

func clock() func() time.Time { return now }

// prober returns a Prober for servers on loopback, with timeouts long enough to not affect results.
func prober() *verify.Prober {
	return &verify.Prober{AllowLoopback: true, Now: clock(), Timeout: time.Minute, Patience: time.Minute}
}

// parties are a partner and its client.
type parties struct {
	serverCA, clientCA *pki.CA
	server, client     pki.Pair
}

func newParties(t *testing.T) *parties {
	t.Helper()
	p := &parties{serverCA: pki.NewCA(t, "Server CA"), clientCA: pki.NewCA(t, "Client CA")}
	p.server = p.serverCA.Issue(t, pki.Server(host))
	p.client = p.clientCA.Issue(t, pki.Client("orders"))
	return p
}

// present returns the certificate as parsed from a Secret.
func present(t *testing.T, pairs ...pki.Pair) tls.Certificate {
	t.Helper()
	data := map[string][]byte{"key": pairs[0].KeyPEM}
	for _, pair := range pairs {
		data["cert"] = append(data["cert"], pair.CertPEM...)
	}
	certificate, err := verify.Certificate(data, credential.CertKeyLayout())
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// request returns a Request for the server at address.
func (p *parties) request(t *testing.T, address net.Addr) verify.Request {
	t.Helper()
	to := netip.MustParseAddrPort(address.String())
	return verify.Request{
		Host: to.Addr().String(), Port: int32(to.Port()), ServerName: host, SubjectAltNames: []string{host},
		Certificate: present(t, p.client), ServerCA: []*x509.Certificate{p.serverCA.Certificate},
	}
}

// mutual returns the configuration of a server that requires a certificate of clientCA.
func (p *parties) mutual(versions ...uint16) *tls.Config {
	config := &tls.Config{
		Certificates: []tls.Certificate{keyPair(p.server)},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: p.clientCA.Pool(), Time: clock(),
	}
	if len(versions) > 0 {
		config.MinVersion, config.MaxVersion = versions[0], versions[0]
	}
	return config
}

func keyPair(pairs ...pki.Pair) tls.Certificate {
	certificate := tls.Certificate{PrivateKey: pairs[0].Key}
	for _, pair := range pairs {
		certificate.Certificate = append(certificate.Certificate, pair.Certificate.Raw)
	}
	return certificate
}

// visit is a connection as the server saw it.
type visit struct {
	// ServerName is the SNI. Client is the subject of the presented and verified certificate.
	ServerName, Client string
	// Data is the data received after the handshake. End is the error after it.
	Data, End string
	// Records are the types of the received TLS records, without repetition. They are unknown in TLS
	// 1.3, which encrypts them.
	Records []byte
}

// tap records what is read from a connection.
type tap struct {
	net.Conn

	read []byte
}

func (c *tap) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read = append(c.read, b[:n]...)
	return n, err
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// serve answers one connection with TLS and reports what it saw.
func serve(t *testing.T, config *tls.Config) (net.Addr, <-chan visit) {
	t.Helper()
	listener := listen(t)
	visits := make(chan visit, 1)
	go func() {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = connection.Close() }()
		tapped := &tap{Conn: connection}
		secured := tls.Server(tapped, config)
		seen := visit{End: "EOF"}
		if err = secured.Handshake(); err == nil {
			var data []byte
			data, err = io.ReadAll(secured)
			seen.Data = string(data)
		}
		if err != nil {
			seen.End = err.Error()
		}
		state := secured.ConnectionState()
		seen.ServerName = state.ServerName
		if len(state.PeerCertificates) > 0 {
			seen.Client = state.PeerCertificates[0].Subject.String()
		}
		if state.Version == tls.VersionTLS12 {
			seen.Records = recordTypes(tapped.read)
		}
		visits <- seen
	}()
	return listener.Addr(), visits
}

func recordTypes(stream []byte) []byte {
	var types []byte
	for len(stream) >= 5 {
		if len(types) == 0 || types[len(types)-1] != stream[0] {
			types = append(types, stream[0])
		}
		stream = stream[min(len(stream), 5+int(stream[3])<<8+int(stream[4])):]
	}
	return types
}

// outcome returns the Outcome of an observation, with a placeholder for the address.
func outcome(o verify.Observation) verify.Outcome {
	got := verify.Evaluate(o)
	if o.Address != "" {
		got.Message = strings.ReplaceAll(got.Message, o.Address, "ADDRESS")
	}
	return got
}

const (
	// own is the text for a valid server certificate. ends are the expiry dates of both certificates.
	own  = `its own is for "external.system.com" and chains to the expected CA; `
	ends = `; the server's certificate expires on 2120-01-01T00:00:00Z (34150 days left), ours on ` +
		`2120-01-01T00:00:00Z (34150 days left)`
	only    = `our issuer "CN=Client CA" is the only CA that it names`
	refused = "the server at ADDRESS refused our certificate with the alert "
)

func TestVerdictOfServersOfGo(t *testing.T) {
	const handshakeRecord, changeRecord, alertRecord = 22, 20, 21
	p := newParties(t)
	other := pki.NewCA(t, "Other CA")
	issuing := p.clientCA.Intermediate(t, "Client Issuing")
	deep := issuing.Issue(t, pki.Client("deep"))
	expired := pki.Server(host)
	expired.NotAfter = now().AddDate(0, 0, -3)
	later := pki.Server("another.example.com")
	later.NotBefore = now().AddDate(0, 1, 0)
	forClients := pki.Client("backwards")
	forClients.DNSNames = []string{host}
	oldIntermediate := p.serverCA.Issue(t, pki.Template{
		Subject: pkix.Name{
			CommonName: "Old Issuing",
		}, IsCA: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: now().AddDate(-1, 0, 0),
	})
	belowOld := (&pki.CA{Pair: oldIntermediate}).Issue(t, pki.Server(host))
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	with := func(config *tls.Config, change func(*tls.Config)) *tls.Config {
		change(config)
		return config
	}
	serverPair := func(pairs ...pki.Pair) *tls.Config {
		return with(p.mutual(), func(c *tls.Config) { c.Certificates = []tls.Certificate{keyPair(pairs...)} })
	}
	accepted := func(version, cas string) verify.Outcome {
		return verify.Outcome{
			Verified: true, Reason: verify.Verified,
			Message: "the server at ADDRESS asked for a client certificate and accepted ours; " + own + version + ends + "; " +
				cas,
		}
	}
	unnamed := func(version, cas string) verify.Outcome {
		outcome := accepted(version, cas)
		outcome.Verified, outcome.Reason = false, verify.IssuerNotNamed
		return outcome
	}
	const withheld = "; it asks for a client certificate, but got none because it is not trusted; " + only
	const seenNothing = "tls: client didn't provide a certificate"
	const notRequested = "the server at ADDRESS did not request a client certificate in the handshake, so ours was not " +
		"used: this host or port is not configured for mutual TLS, or requests a certificate only for certain paths, by " +
		"renegotiation or after the handshake, which the sidecar does not support"
	ours := visit{ServerName: host, Client: "CN=orders", End: "EOF"}
	plainHandshake := []byte{handshakeRecord, changeRecord, handshakeRecord, alertRecord}

	tests := map[string]struct {
		server  *tls.Config
		request func(*verify.Request)
		want    verify.Outcome
		saw     visit
	}{
		"TLS 1.3 with a ticket": {server: p.mutual(tls.VersionTLS13), want: accepted("TLS 1.3", only), saw: ours},
		"TLS 1.2": {
			server: p.mutual(tls.VersionTLS12), want: accepted("TLS 1.2", only),
			saw: visit{ServerName: host, Client: "CN=orders", End: "EOF", Records: plainHandshake},
		},
		"a server that accepts any certificate and names no CA": {
			server: with(p.mutual(), func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAnyClientCert, nil }),
			want:   accepted("TLS 1.3", "it names no acceptable CAs"), saw: ours,
		},
		"a server that accepts any certificate and names another CA": {
			server: with(p.mutual(), func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAnyClientCert, other.Pool() }),
			want: unnamed(
				"TLS 1.3",
				`our issuer ("CN=Client CA") is not among the CAs that it names ("CN=Other CA"), but it accepts ours: `+
					"servers such as nginx do, and reject the first request instead, so ask the partner whether it trusts our issuer",
			),
			saw: ours,
		},
		"our issuer among several CAs, above an intermediate": {
			server: with(p.mutual(), func(c *tls.Config) {
				c.ClientCAs = p.clientCA.Pool()
				c.ClientCAs.AddCert(other.Certificate)
			}),
			request: func(r *verify.Request) { r.Certificate = present(t, deep, issuing.Pair) },
			want:    accepted("TLS 1.3", `our issuer "CN=Client CA" is among the 2 CAs that it names`),
			saw:     visit{ServerName: host, Client: "CN=deep", End: "EOF"},
		},
		"another CA in TLS 1.3": {
			server: with(p.mutual(tls.VersionTLS13), func(c *tls.Config) { c.ClientCAs = other.Pool() }),
			want: verify.Outcome{
				Reason: verify.IssuerNotAccepted,
				Message: refused + "48 (unknown certificate authority): the partner must trust its issuer, " +
					`and the chain in the Secret must be complete; our issuer ("CN=Client CA") is not among the CAs that it names ` +
					`("CN=Other CA"); TLS 1.3` + ends,
			},
			saw: visit{
				ServerName: host,
				End:        "tls: failed to verify certificate: x509: certificate signed by unknown authority",
			},
		},
		"another CA in TLS 1.2": {
			server: with(p.mutual(tls.VersionTLS12), func(c *tls.Config) { c.ClientCAs = other.Pool() }),
			want: verify.Outcome{
				Reason: verify.IssuerNotAccepted,
				Message: refused + "48 (unknown certificate authority): the partner must trust its issuer, " +
					`and the chain in the Secret must be complete; our issuer ("CN=Client CA") is not among the CAs that it names ` +
					`("CN=Other CA"); TLS 1.2` + ends,
			},
			saw: visit{
				ServerName: host, End: "tls: failed to verify certificate: x509: certificate signed by unknown authority",
				Records: []byte{handshakeRecord, changeRecord, handshakeRecord},
			},
		},
		"a missing intermediate": {
			server:  p.mutual(),
			request: func(r *verify.Request) { r.Certificate = present(t, deep) },
			want: verify.Outcome{
				Reason: verify.IssuerNotAccepted,
				Message: refused + "48 (unknown certificate authority): the partner must trust its issuer, " +
					`and the chain in the Secret must be complete; our issuer ("CN=Client Issuing") is not among the CAs that it ` +
					`names ("CN=Client CA"); TLS 1.3` + ends,
			},
			saw: visit{
				ServerName: host,
				End:        "tls: failed to verify certificate: x509: certificate signed by unknown authority",
			},
		},
		"a server whose clock is after our certificate's end": {
			server: with(p.mutual(), func(c *tls.Config) { c.Time = func() time.Time { return now().AddDate(200, 0, 0) } }),
			want: verify.Outcome{
				Reason: verify.ClientCertificateRefused,
				Message: refused + "45 (expired certificate): it, or one of its intermediates, " +
					"is expired for the server; compare the validity of the chain with the server's clock; " + only + "; TLS 1.3" +
					ends,
			},
			saw: visit{
				ServerName: host,
				End: "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: " +
					"current time 2226-07-01T12:00:00Z is after 2120-01-01T00:00:00Z",
			},
		},
		"a server that checks certificates against a list": {
			server: with(p.mutual(), func(c *tls.Config) {
				c.VerifyConnection = func(tls.ConnectionState) error { return errors.New("not on the list") }
			}),
			want: verify.Outcome{
				Reason: verify.ClientCertificateRefused,
				Message: refused + "42 (bad certificate): ask the partner which certificate is " +
					"registered there; " + only + "; TLS 1.3" + ends,
			},
			saw: visit{ServerName: host, Client: "CN=orders", End: "not on the list"},
		},
		"no client certificate requested in TLS 1.3": {
			server: with(p.mutual(tls.VersionTLS13), func(c *tls.Config) { c.ClientAuth = tls.NoClientCert }),
			want:   verify.Outcome{Reason: verify.ClientCertificateNotRequested, Message: notRequested},
			saw:    visit{ServerName: host, End: "EOF"},
		},
		"no client certificate requested in TLS 1.2": {
			server: with(p.mutual(tls.VersionTLS12), func(c *tls.Config) { c.ClientAuth = tls.NoClientCert }),
			want:   verify.Outcome{Reason: verify.ClientCertificateNotRequested, Message: notRequested},
			saw:    visit{ServerName: host, End: "EOF", Records: plainHandshake},
		},
		"a server certificate of another CA": {
			server: serverPair(other.Issue(t, pki.Server(host))),
			want: verify.Outcome{
				Reason: verify.ServerNotTrusted,
				Message: `the server's certificate (subject "") does not chain to the expected CA: ` +
					`its issuer is "CN=Other CA", ` +
					"the server sends 1 certificate; ask the partner which CA signs the server's certificate, and store that CA " +
					"where serverCA of the EgressTarget points" + withheld,
			},
			saw: visit{ServerName: host, End: seenNothing},
		},
		"a server certificate below an expired intermediate": {
			server: serverPair(belowOld, oldIntermediate),
			want: verify.Outcome{
				Reason: verify.ServerNotTrusted,
				Message: `the server's certificate (subject "") does not chain to the expected CA: its issuer is "CN=Old ` +
					`Issuing", the server sends 2 certificates, and above it a certificate (subject "CN=Old Issuing") is valid only ` +
					`from 2020-01-01T00:00:00Z to 2025-07-01T12:00:00Z; ` +
					"ask the partner which CA signs the server's certificate, and store that CA where serverCA " +
					"of the EgressTarget points" + withheld,
			},
			saw: visit{ServerName: host, End: seenNothing},
		},
		"an expired server certificate": {
			server: serverPair(p.serverCA.Issue(t, expired)),
			want: verify.Outcome{
				Reason: verify.ServerCertificateExpired,
				Message: `the server's certificate (subject "") expired on 2026-06-28T12:00:00Z: the partner must renew it` +
					withheld,
			},
			saw: visit{ServerName: host, End: seenNothing},
		},
		"everything wrong with a server certificate at once": {
			server: serverPair(other.Issue(t, later)),
			want: verify.Outcome{
				Reason: verify.ServerNotTrusted,
				Message: `the server's certificate (subject "") does not chain to the expected CA: its issuer is "CN=Other CA", ` +
					`the server sends 1 certificate; ask the partner which CA signs the server's certificate, and store that CA ` +
					`where serverCA of the EgressTarget points; the server's certificate is for "another.example.com", but must be ` +
					`for "external.system.com": another server answers there, or the EgressTarget must list its name in ` +
					`subjectAltNames; the server's certificate (subject "") is valid only from 2026-08-01T12:00:00Z on: the partner ` +
					`must use the previous one until then, or a clock is wrong` + withheld,
			},
			saw: visit{ServerName: host, End: seenNothing},
		},
		"a client certificate as a server certificate": {
			server: serverPair(p.serverCA.Issue(t, forClients)),
			want: verify.Outcome{
				Reason: verify.NotForServerAuth,
				Message: `the server's certificate (subject "CN=backwards") may not be used by a server: its extended key usage, ` +
					`or that of a CA above it, must include serverAuth` + withheld,
			},
			saw: visit{ServerName: host, End: seenNothing},
		},
		"an untrusted server that requests no certificate": {
			server: with(serverPair(other.Issue(t, pki.Server(host))), func(c *tls.Config) { c.ClientAuth = tls.NoClientCert }),
			want: verify.Outcome{
				Reason: verify.ServerNotTrusted,
				Message: `the server's certificate (subject "") does not chain to the expected CA: ` +
					`its issuer is "CN=Other CA", ` +
					"the server sends 1 certificate; ask the partner which CA signs the server's certificate, and store that CA " +
					"where serverCA of the EgressTarget points; " + notRequested,
			},
			saw: visit{ServerName: host, End: "EOF"},
		},
		"TLS 1.1 only": {
			server: with(p.mutual(), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }),
			want: verify.Outcome{
				Reason: verify.VersionTooOld,
				Message: "the server at ADDRESS refused TLS 1.2 and 1.3 with the alert 70 (protocol version not supported): " +
					"the sidecar supports no older version, so the partner must enable one of them",
			},
			saw: visit{End: "tls: client offered only unsupported versions: [304 303]"},
		},
		"no curve in common": {
			server: with(p.mutual(), func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP521} }),
			want: verify.Outcome{
				Reason: verify.HandshakeFailed,
				Message: "the server at ADDRESS refused the handshake with the alert 40 (handshake failure): it may have no " +
					"cipher suite or curve in common with the sidecar, " + `or not know the name "external.system.com"`,
			},
			saw: visit{End: "tls: no key exchanges supported by both client and server"},
		},
		"HTTP/2 offered and chosen": {
			server:  with(p.mutual(), func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} }),
			request: func(r *verify.Request) { r.HTTPVersion = "2" },
			want:    accepted("TLS 1.3", only), saw: ours,
		},
		"HTTP/1.1 offered to a server that does not know it": {
			server:  with(p.mutual(), func(c *tls.Config) { c.NextProtos = []string{"acme-tls/1"} }),
			request: func(r *verify.Request) { r.HTTPVersion = "1.1" },
			want: verify.Outcome{
				Reason: verify.ProtocolNotSpoken,
				Message: `the server at ADDRESS doesn't speak HTTP/1.1: the alert 120 (no application protocol); set ` +
					`http.version of the EgressTarget to "2"`,
			},
			saw: visit{End: `tls: client requested unsupported application protocols (["http/1.1"])`},
		},
		"either version offered, and one of them chosen": {
			server: with(p.mutual(), func(c *tls.Config) { c.NextProtos = []string{"h2"} }),
			want:   accepted("TLS 1.3", only), saw: ours,
		},
		"HTTP/2 offered and not chosen": {
			server:  p.mutual(),
			request: func(r *verify.Request) { r.HTTPVersion = "2" },
			want: verify.Outcome{
				Reason: verify.ProtocolNotSpoken,
				Message: `the server at ADDRESS doesn't choose HTTP/2: set http.version of the EgressTarget to "1.1"; TLS 1.3` +
					ends,
			},
			saw: ours,
		},
		"a key that current TLS 1.2 servers accept too": {
			server: p.mutual(tls.VersionTLS12),
			request: func(r *verify.Request) {
				template := pki.Client("edwards")
				template.Key = edKey
				r.Certificate = present(t, p.clientCA.Issue(t, template))
			},
			want: accepted("TLS 1.2", only),
			saw:  visit{ServerName: host, Client: "CN=edwards", End: "EOF", Records: plainHandshake},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, visits := serve(t, test.server)
			request := p.request(t, address)
			if test.request != nil {
				test.request(&request)
			}
			if diff := cmp.Diff(test.want, outcome(prober().Probe(t.Context(), request))); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.saw, <-visits); diff != "" {
				t.Errorf("what the server saw (-want +got):\n%s", diff)
			}
		})
	}
}

func TestObservationIsAllThatWasSeen(t *testing.T) {
	p := newParties(t)
	address, _ := serve(t, p.mutual())
	got := prober().Probe(t.Context(), p.request(t, address))
	want := verify.Observation{
		Host: "127.0.0.1", Port: int32(netip.MustParseAddrPort(address.String()).Port()), ServerName: host,
		Timeout: time.Minute, Patience: time.Minute, Address: address.String(), Complete: true, Version: tls.VersionTLS13,
		Matched: host, OursNotAfter: p.client.Certificate.NotAfter, OursDaysLeft: 34150,
		Server: &verify.Server{
			Issuer: "CN=Server CA", Names: []string{host},
			NotBefore: p.server.Certificate.NotBefore, NotAfter: p.server.Certificate.NotAfter,
			DaysLeft: 34150, Chain: []*x509.Certificate{p.server.Certificate},
		},
		Asked: &verify.Asked{
			AcceptedCAs: []string{"CN=Client CA"}, Issuers: []string{"CN=Client CA"}, KeyAccepted: true,
			SignatureSchemes: got.Asked.SignatureSchemes,
		},
		Presented: true, Answer: verify.Ticket,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(got.Asked.SignatureSchemes) == 0 {
		t.Error("the server's signature schemes are missing")
	}
}

// TestWithoutATicketTheAnswerIsWaitedFor runs TLS 1.3 servers that send no ticket: one is silent,
// others send data or close the stream.
func TestWithoutATicketTheAnswerIsWaitedFor(t *testing.T) {
	p := newParties(t)
	quiet := p.mutual(tls.VersionTLS13)
	quiet.SessionTicketsDisabled = true
	tests := map[string]struct {
		patience time.Duration
		then     func(*tls.Conn)
		want     verify.Outcome
	}{
		"it is silent": {
			patience: 50 * time.Millisecond,
			then:     func(c *tls.Conn) { _, _ = c.Read(make([]byte, 1)) },
			want: verify.Outcome{
				Verified: true,
				Reason:   verify.Verified,
				Message: "the server at ADDRESS asked for a client certificate and did not refuse ours " +
					"within 50ms; " + own + "TLS 1.3" + ends + "; " + only,
			},
		},
		"it sends data for a while": {
			patience: 50 * time.Millisecond,
			then: func(c *tls.Conn) {
				for {
					if _, err := c.Write([]byte("x")); err != nil {
						return
					}
					<-time.After(time.Millisecond)
				}
			},
			want: verify.Outcome{
				Verified: true,
				Reason:   verify.Verified,
				Message: "the server at ADDRESS asked for a client certificate and did not refuse ours " +
					"within 50ms; " + own + "TLS 1.3" + ends + "; " + only,
			},
		},
		"it sends more data than the limit": {
			patience: time.Minute,
			then: func(c *tls.Conn) {
				data := make([]byte, 1<<14)
				for {
					if _, err := c.Write(data); err != nil {
						return
					}
				}
			},
			want: verify.Outcome{
				Reason:  verify.HandshakeFailed,
				Message: "the handshake with ADDRESS failed: the partner sent more than 1048576 bytes",
			},
		},
		"it closes the stream": {
			patience: time.Minute,
			then:     func(c *tls.Conn) { _ = c.Close() },
			want: verify.Outcome{
				Reason: verify.ConnectionClosed,
				Message: "the server at ADDRESS closed the connection after it received our certificate, without an alert: it " +
					"probably rejects it; " + only + "; TLS 1.3" + ends,
			},
		},
		"it resets the connection": {
			patience: time.Minute,
			then: func(c *tls.Conn) {
				if tcp, ok := c.NetConn().(*net.TCPConn); ok {
					_ = tcp.SetLinger(0)
					_ = tcp.Close()
				}
			},
			want: verify.Outcome{
				Reason: verify.ConnectionClosed,
				Message: "the server at ADDRESS closed the connection after it received our certificate, without an alert: it " +
					"probably rejects it; " + only + "; TLS 1.3" + ends,
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener := listen(t)
			go func() {
				connection, err := listener.Accept()
				if err != nil {
					return
				}
				defer func() { _ = connection.Close() }()
				secured := tls.Server(connection, quiet)
				if secured.Handshake() == nil {
					test.then(secured)
				}
			}()
			probing := prober()
			probing.Patience = test.patience
			if diff := cmp.Diff(test.want, outcome(probing.Probe(t.Context(), p.request(t, listener.Addr())))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestVerdictOfWhatIsNoTLSServer(t *testing.T) {
	p := newParties(t)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	// accept answers one connection.
	accept := func(then func(net.Conn)) func(*testing.T) net.Addr {
		return func(t *testing.T) net.Addr {
			t.Helper()
			listener := listen(t)
			go func() {
				connection, err := listener.Accept()
				if err != nil {
					return
				}
				defer func() { _ = connection.Close() }()
				then(connection)
			}()
			return listener.Addr()
		}
	}
	// hold keeps the connection open until the other side closes it.
	hold := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	trickle := func(first, again string) func(net.Conn) {
		return func(c net.Conn) {
			_, err := io.WriteString(c, first)
			for err == nil {
				_, err = io.WriteString(c, again)
			}
		}
	}
	const noTLS = ": set its TLS port in spec.port of the EgressTarget"
	const closed = "the server at ADDRESS closed the connection during the handshake, without an alert: it may only " +
		"allow certain addresses, or not be a TLS port"
	const slow = 100 * time.Millisecond

	tests := map[string]struct {
		server  func(*testing.T) net.Addr
		timeout time.Duration
		want    verify.Outcome
	}{
		"a plain HTTP server": {
			server: func(*testing.T) net.Addr { return plain.Listener.Addr() },
			want: verify.Outcome{
				Reason:  verify.NotTLS,
				Message: "the server at ADDRESS answers with HTTP in plain text" + noTLS,
			},
		},
		"an SSH server": {
			server: accept(func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.9\r\n"); hold(c) }),
			want: verify.Outcome{
				Reason:  verify.NotTLS,
				Message: "the server at ADDRESS answers with something that is not TLS" + noTLS,
			},
		},
		"endless garbage": {
			server: accept(trickle("", strings.Repeat("\x00garbage", 100))),
			want: verify.Outcome{
				Reason:  verify.NotTLS,
				Message: "the server at ADDRESS answers with something that is not TLS" + noTLS,
			},
		},
		"garbage in the form of a handshake": {
			server: accept(func(c net.Conn) { _, _ = io.WriteString(c, "\x16\x03\x03\x00\x04\x02\xff\xff\xff"); hold(c) }),
			want: verify.Outcome{
				Reason: verify.HandshakeFailed,
				Message: "the handshake with ADDRESS failed: tls: handshake message of length " +
					"16777215 bytes exceeds maximum of 65536 bytes",
			},
		},
		"endless empty records": {
			server: accept(trickle("", "\x16\x03\x03\x00\x00")),
			want: verify.Outcome{
				Reason:  verify.HandshakeFailed,
				Message: "the handshake with ADDRESS failed: local error: tls: unexpected message",
			},
		},
		"endless warnings": {
			server: accept(trickle("", "\x15\x03\x03\x00\x02\x01\x5a")),
			want: verify.Outcome{
				Reason:  verify.HandshakeFailed,
				Message: "the handshake with ADDRESS failed: tls: too many ignored records",
			},
		},
		"an alert at once": {
			server: accept(func(c net.Conn) { _, _ = io.WriteString(c, "\x15\x03\x03\x00\x02\x02\x70"); hold(c) }),
			want: verify.Outcome{
				Reason: verify.ServerNameUnknown,
				Message: `the server at ADDRESS doesn't know the name "external.system.com": the alert 112 ` +
					`(unrecognized name); set another name in spec.sni of the EgressTarget`,
			},
		},
		"an unknown alert": {
			server: accept(func(c net.Conn) { _, _ = io.WriteString(c, "\x15\x03\x03\x00\x02\x02\xfe"); hold(c) }),
			want: verify.Outcome{
				Reason:  verify.HandshakeFailed,
				Message: "the server at ADDRESS refused the handshake with the alert 254 (alert(254))",
			},
		},
		"a silent server": {
			server: accept(hold), timeout: slow,
			want: verify.Outcome{
				Reason: verify.ProbeTimedOut,
				Message: "the server at ADDRESS accepts the connection, but does not finish a TLS handshake within 100ms: check " +
					"that it is a TLS port",
			},
		},
		"a server that sends an endless handshake message slowly": {
			server: accept(func(c net.Conn) {
				_, err := io.WriteString(c, "\x16\x03\x03\x40\x00\x02\x00\xff\xff")
				for err == nil {
					_, err = io.WriteString(c, "x")
					<-time.After(time.Millisecond)
				}
			}),
			timeout: slow,
			want: verify.Outcome{
				Reason: verify.ProbeTimedOut,
				Message: "the server at ADDRESS accepts the connection, but does not finish a TLS handshake within 100ms: check " +
					"that it is a TLS port",
			},
		},
		"a server that closes at once": {
			server: accept(func(c net.Conn) { _ = c.Close() }),
			want:   verify.Outcome{Reason: verify.ConnectionClosed, Message: closed},
		},
		"a server that closes after the ClientHello": {
			server: accept(func(c net.Conn) { _, _ = c.Read(make([]byte, 1<<14)) }),
			want:   verify.Outcome{Reason: verify.ConnectionClosed, Message: closed},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			probing := prober()
			if test.timeout > 0 {
				probing.Timeout = test.timeout
			}
			if diff := cmp.Diff(test.want, outcome(probing.Probe(t.Context(), p.request(t, test.server(t))))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestACallerCanEndAProbe(t *testing.T) {
	p := newParties(t)
	quiet := p.mutual(tls.VersionTLS13)
	quiet.SessionTicketsDisabled = true
	tests := map[string]*tls.Config{
		"within the handshake":                   nil,
		"while it waits for the server's answer": quiet,
	}
	for name, config := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener := listen(t)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				connection, err := listener.Accept()
				if err != nil {
					return
				}
				if config == nil {
					_, _ = connection.Read(make([]byte, 1))
				} else {
					_ = tls.Server(connection, config).HandshakeContext(ctx)
				}
				cancel()
			}()
			request := p.request(t, listener.Addr())
			got := verify.Evaluate(prober().Probe(ctx, request))
			want := verify.Outcome{
				Reason: verify.ProbeInterrupted, Message: "the probe of " + listener.Addr().String() + " was interrupted",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSystemCAs(t *testing.T) {
	p := newParties(t)
	tests := map[string]struct {
		roots func() (*x509.CertPool, error)
		want  verify.Reason
	}{
		"include that of the server": {
			roots: func() (*x509.CertPool, error) { return p.serverCA.Pool(), nil }, want: verify.Verified,
		},
		"don't include that of the server": {
			roots: func() (*x509.CertPool, error) { return p.clientCA.Pool(), nil }, want: verify.ServerNotTrusted,
		},
		"are empty": {
			roots: func() (*x509.CertPool, error) { return x509.NewCertPool(), nil }, want: verify.SystemCANotFound,
		},
		"can't be read": {
			roots: func() (*x509.CertPool, error) { return nil, errors.New("no such file") },
			want:  verify.SystemCANotFound,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, _ := serve(t, p.mutual())
			request := p.request(t, address)
			// The CA in the request is ignored then.
			request.System = true
			probing := prober()
			probing.SystemRoots = test.roots
			if got := verify.Evaluate(probing.Probe(t.Context(), request)).Reason; got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

func TestCertificateSaysAllThatCannotBeRead(t *testing.T) {
	_, err := verify.Certificate(map[string][]byte{"cert": []byte("x"), "key": []byte("y")}, credential.CertKeyLayout())
	want := "\"cert\" (client certificate) is not PEM: it has no BEGIN line\n" +
		"\"key\" (private key) is not PEM: it has no BEGIN line"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
