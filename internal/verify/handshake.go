// Package verify tries the very credential that Pods present: it makes a TLS handshake with the
// partner as a sidecar does, and says in a sentence what came of it. No byte of application data is
// ever sent.
//
// [Prober.Probe] is the edge: it resolves, connects and records an [Observation]. [Evaluate] is a
// pure function of that.
package verify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
)

// The defaults of a [Prober].
const (
	DefaultTimeout  = 10 * time.Second
	DefaultPatience = 2 * time.Second
)

const (
	// maxRead is how many bytes are read from a partner in all. crypto/tls bounds a certificate
	// message at 256 KiB and every other at 64.
	maxRead = 1 << 20
	// farewell is how long the partner may take to answer the end of the connection with its own.
	farewell = 500 * time.Millisecond
)

// Request says with whom to make a handshake, and what is presented and expected in it.
type Request struct {
	// Host is resolved by DNS as it stands, as an absolute name: search domains are not tried, as the
	// sidecar doesn't.
	Host string
	// Port is the partner's TLS port.
	Port int32
	// ServerName is sent as SNI; none when empty.
	ServerName string
	// SubjectAltNames are the names of which the server's certificate must carry one.
	SubjectAltNames []string
	// Certificate is presented when the server asks for one; [Certificate] reads it.
	Certificate tls.Certificate
	// ServerCA are the certificates that the server's chain may end in.
	ServerCA []*x509.Certificate
	// System takes the CAs that the system trusts instead. They are those of the controller's image,
	// not of the sidecar's.
	System bool
	// HTTP2 offers the protocol h2 instead of http/1.1, as the sidecar does for targets whose HTTP
	// version is 2.
	HTTP2 bool
}

// Certificate reads the certificate and its key from the data of a Secret. It doesn't judge them:
// that is [credential.Check]'s business, and comes first. The error names all that can't be read
// and holds nothing of the key.
func Certificate(data map[string][]byte, layout egress.Layout) (tls.Certificate, error) {
	chain, unreadable := credential.ReadCertificates(layout.Certificate, data[layout.Certificate])
	key, noKey := credential.ReadPrivateKey(layout.PrivateKey, data[layout.PrivateKey])
	if err := errors.Join(unreadable, noKey); err != nil {
		return tls.Certificate{}, err
	}
	certificate := tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, one := range chain {
		certificate.Certificate = append(certificate.Certificate, one.Raw)
	}
	return certificate, nil
}

// Prober makes handshakes. The zero value is ready for use, also by several goroutines.
type Prober struct {
	// Timeout bounds a whole probe; default [DefaultTimeout].
	Timeout time.Duration
	// Patience is how long a server that speaks TLS 1.3 may take to refuse a certificate; default
	// [DefaultPatience].
	Patience time.Duration
	// AllowLoopback connects to loopback addresses and those of this host, which are refused
	// otherwise, as link-local, multicast, unspecified and reserved ones and metadata services are
	// always. It is for tests.
	AllowLoopback bool
	// Resolver resolves names; default [net.DefaultResolver].
	Resolver *net.Resolver
	// SystemRoots are the CAs that the system trusts; default [x509.SystemCertPool].
	SystemRoots func() (*x509.CertPool, error)
	// Now is the time at which certificates are judged; default [time.Now].
	Now func() time.Time
}

// Probe makes one handshake and closes the connection. It returns when the partner has answered,
// after [Prober.Timeout], or when ctx is done; half a second later at most when the partner doesn't
// end the connection.
//
// The certificate is presented only to a server whose own is in order, as the sidecar does. Any
// other server gets none, so that it says what it asks for without learning who asks.
func (p *Prober) Probe(ctx context.Context, request Request) Observation {
	timeout := orDefault(p.Timeout, DefaultTimeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	try := &attempt{
		request: request,
		now:     time.Now(),
		Observation: Observation{
			Host: request.Host, Port: request.Port, ServerName: request.ServerName, HTTP2: request.HTTP2,
			Timeout: timeout, Patience: orDefault(p.Patience, DefaultPatience),
		},
	}
	if p.Now != nil {
		try.now = p.Now()
	}
	roots, err := p.roots(request)
	if err != nil {
		try.Failure, try.Detail = CANotFound, credential.Printable(err.Error())
		return try.Observation
	}
	try.roots = roots
	if leaf := request.Certificate.Leaf; leaf != nil {
		try.OursNotAfter, try.OursDaysLeft = leaf.NotAfter.UTC(), credential.DaysLeft(leaf.NotAfter, try.now)
	}
	connection, err := p.dial(ctx, request)
	if err != nil {
		try.fail(ctx, err)
		return try.Observation
	}
	defer func() { _ = connection.Close() }()
	try.Address = connection.RemoteAddr().String()
	try.shake(ctx, connection)
	return try.Observation
}

func orDefault(value, otherwise time.Duration) time.Duration {
	if value == 0 {
		return otherwise
	}
	return value
}

func (p *Prober) roots(request Request) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !request.System {
		for _, authority := range request.ServerCA {
			pool.AddCert(authority)
		}
		return pool, nil
	}
	read := x509.SystemCertPool
	if p.SystemRoots != nil {
		read = p.SystemRoots
	}
	system, err := read()
	if err != nil {
		return nil, err
	}
	if system.Equal(pool) {
		return nil, errors.New("there is none on this system")
	}
	return system, nil
}

func (p *Prober) dial(ctx context.Context, request Request) (net.Conn, error) {
	host := request.Host
	if _, err := netip.ParseAddr(host); err != nil {
		// The endpoint that the sidecar resolves has the dot too.
		host = strings.TrimSuffix(host, ".") + "."
	}
	dialer := net.Dialer{Resolver: p.Resolver, Control: guard(p.AllowLoopback)}
	return dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(request.Port))))
}

// attempt is an observation in the making.
type attempt struct {
	Observation

	request Request
	roots   *x509.CertPool
	now     time.Time
	// interrupt ends the wait for the server's answer.
	interrupt func()
}

func (a *attempt) shake(ctx context.Context, connection net.Conn) {
	bounded := &boundedConn{Conn: connection, left: maxRead}
	past := time.Unix(1, 0)
	a.interrupt = func() { _ = connection.SetReadDeadline(past) }

	secured := tls.Client(bounded, a.config())
	err := secured.HandshakeContext(ctx)
	state := secured.ConnectionState()
	a.Protocol, a.Complete = state.NegotiatedProtocol, err == nil
	if err != nil {
		a.fail(ctx, err)
		return
	}
	switch {
	case !a.Presented:
	case state.Version == tls.VersionTLS13:
		a.await(ctx, secured, connection)
	default:
		// In TLS 1.2 the server's Finished, which ends the handshake, comes after it has seen the
		// certificate (RFC 5246 §7.3).
		a.Answer = Finished
	}
	leave(secured, bounded)
}

// config is what a sidecar offers: TLS 1.2 and 1.3 as Istio sets them, and Envoy's curves
// (https://github.com/envoyproxy/envoy/blob/main/source/common/tls/context_config_impl.cc). Go's
// own default adds a post-quantum exchange, whose long ClientHello some servers don't read.
func (a *attempt) config() *tls.Config {
	protocols := []string{"http/1.1"}
	if a.request.HTTP2 {
		protocols = []string{"h2"}
	}
	return &tls.Config{
		ServerName:       a.request.ServerName,
		MinVersion:       tls.VersionTLS12,
		MaxVersion:       tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256},
		NextProtos:       protocols,
		Time:             func() time.Time { return a.now },
		// crypto/tls stops at the first thing that is wrong with a server, and at a name that it compares
		// by other rules than Envoy.
		InsecureSkipVerify:   true, //nolint:gosec // VerifyConnection verifies; what doesn't pass gets no certificate, and nobody gets data.
		VerifyConnection:     a.verify,
		GetClientCertificate: a.present,
		ClientSessionCache:   tickets(a.accepted),
	}
}

// verify goes on with a server that isn't trusted, to hear what it asks for.
func (a *attempt) verify(state tls.ConnectionState) error {
	chain := state.PeerCertificates
	a.Problems = verify(chain, a.roots, a.request.SubjectAltNames, a.now)
	a.Version = state.Version
	if len(chain) > 0 {
		a.Matched, _ = matched(chain[0], a.request.SubjectAltNames)
		a.Server = &Server{
			Subject: credential.DistinguishedName(chain[0].RawSubject), Issuer: credential.DistinguishedName(chain[0].RawIssuer), Names: namesOf(chain[0]),
			NotBefore: chain[0].NotBefore.UTC(), NotAfter: chain[0].NotAfter.UTC(), DaysLeft: credential.DaysLeft(chain[0].NotAfter, a.now), ChainLength: len(chain),
		}
	}
	return nil
}

// present takes no notice of the CAs that the server names: Envoy presents its certificate whatever
// they are.
func (a *attempt) present(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	a.Asked = &Asked{SignatureSchemes: asked.SignatureSchemes}
	for _, name := range asked.AcceptableCAs {
		a.Asked.AcceptedCAs = append(a.Asked.AcceptedCAs, credential.DistinguishedName(name))
	}
	for _, der := range a.request.Certificate.Certificate {
		if certificate, err := x509.ParseCertificate(der); err == nil {
			a.Asked.Issuers = append(a.Asked.Issuers, credential.DistinguishedName(certificate.RawIssuer))
		}
	}
	// Without the names of CAs, SupportsCertificate looks at the type of the key alone.
	schemes := tls.CertificateRequestInfo{Version: asked.Version, SignatureSchemes: asked.SignatureSchemes}
	a.Asked.KeyAccepted = schemes.SupportsCertificate(&a.request.Certificate) == nil
	if len(a.Problems) > 0 || !a.Asked.KeyAccepted {
		return &tls.Certificate{}, nil
	}
	a.Presented = true
	return &a.request.Certificate, nil
}

// tickets calls itself for each session ticket, and remembers none: every probe is a full
// handshake.
type tickets func()

// Get finds nothing.
func (tickets) Get(string) (*tls.ClientSessionState, bool) { return nil, false }

// Put keeps nothing.
func (t tickets) Put(string, *tls.ClientSessionState) { t() }

func (a *attempt) accepted() {
	a.Answer = Ticket
	a.interrupt()
}

// await waits for a sign that the server has judged the certificate. In TLS 1.3 the client's
// handshake ends before the server's, and an alert or a session ticket comes after it; the ticket
// only when the server has taken the client's Finished (RFC 8446 §4.6.1). Reading makes crypto/tls
// look at both. Application data, which a server may send before that, says nothing.
func (a *attempt) await(ctx context.Context, secured *tls.Conn, connection net.Conn) {
	_ = connection.SetReadDeadline(time.Now().Add(a.Patience))
	stop := context.AfterFunc(ctx, a.interrupt)
	defer stop()
	buffer := make([]byte, 4096)
	for {
		_, err := secured.Read(buffer)
		switch timeout, _ := errors.AsType[net.Error](err); {
		case err == nil:
			continue
		case a.Answer == Ticket:
		case ctx.Err() == nil && timeout != nil && timeout.Timeout():
			a.Answer = Silence
		default:
			a.fail(ctx, err)
		}
		return
	}
}

// leave ends a connection such that the partner logs no reset: with close_notify and the end of the
// stream, and what it still sends is read.
func leave(secured *tls.Conn, connection *boundedConn) {
	_ = connection.SetDeadline(time.Now().Add(farewell))
	_ = secured.CloseWrite()
	if half, ok := connection.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, connection)
}

// fail records why there was no full handshake.
func (a *attempt) fail(ctx context.Context, err error) {
	a.Failure, a.Alert, a.Detail = a.classify(err)
	// A deadline and an end of ctx show as one of these.
	timeout, isNet := errors.AsType[net.Error](err)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		a.Failure, a.Detail = Interrupted, ""
	case a.Failure != NotResolved && (ctx.Err() != nil || isNet && timeout.Timeout()):
		a.Failure, a.Detail = TimedOut, ""
	}
}

func (a *attempt) classify(err error) (failure Failure, alert tls.AlertError, detail string) {
	if lookup, ok := errors.AsType[*net.DNSError](err); ok {
		if lookup.IsNotFound {
			return NotResolved, 0, "it has no address"
		}
		return NotResolved, 0, credential.Printable(lookup.Err)
	}
	if refused, ok := errors.AsType[*refusedAddressError](err); ok {
		return Refused, 0, refused.Error()
	}
	if a.Address == "" {
		return NotConnected, 0, connectError(err)
	}
	// Conn is set for the first record only.
	if first, ok := errors.AsType[tls.RecordHeaderError](err); ok && first.Conn != nil {
		if string(first.RecordHeader[:]) == "HTTP/" {
			return PlainText, 0, "HTTP"
		}
		return PlainText, 0, ""
	}
	if number, ok := alertOf(err); ok {
		return Alerted, number, ""
	}
	if closed(err) {
		return Closed, 0, ""
	}
	return Broken, 0, credential.Printable(err.Error())
}

// connectError is the last part of an error of a dialer, for example "connection refused": those
// before it name address and operation.
func connectError(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return credential.Printable(err.Error())
		}
		err = inner
	}
}

func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// alertOf is the alert that a partner has sent. crypto/tls keeps the type to itself, but not its
// words.
func alertOf(err error) (tls.AlertError, bool) {
	remote, ok := errors.AsType[*net.OpError](err)
	if !ok || remote.Op != "remote error" {
		return 0, false
	}
	for number := range 256 {
		if alert := tls.AlertError(number); alert.Error() == remote.Err.Error() {
			return alert, true
		}
	}
	return 0, false
}

// boundedConn reads no more than is left.
type boundedConn struct {
	net.Conn

	left int
}

// Read reads at most what is left.
func (c *boundedConn) Read(b []byte) (int, error) {
	if c.left == 0 {
		return 0, fmt.Errorf("the partner has sent more than %d bytes", maxRead)
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}
