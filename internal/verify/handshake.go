// Package verify verifies the credential that Pods present. It makes a TLS handshake with the
// partner like a sidecar, and describes the result in a sentence. It never sends application data.
//
// [Prober.Probe] resolves, connects and records an [Observation]. [Evaluate] is a pure function of
// the observation.
package verify

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
)

// The defaults of a [Prober].
const (
	DefaultTimeout  = 10 * time.Second
	DefaultPatience = 2 * time.Second
)

const (
	// maxRead is the maximum number of bytes to read from a partner. crypto/tls limits certificate
	// messages to 256 KiB and all others to 64 KiB.
	maxRead = 1 << 20
	// closeTimeout is the maximum time to wait for the partner to close its side of the connection.
	closeTimeout = 500 * time.Millisecond
)

// Request describes a handshake: the partner, the certificate to present, and the expectations.
type Request struct {
	// Host is resolved with DNS as an absolute name, without search domains, as in the sidecar.
	Host string
	// Port is the partner's TLS port.
	Port int32
	// Endpoints are connected to in place of the host, in this order, until one can be reached. Empty
	// means the host.
	Endpoints []egress.Endpoint
	// ServerName is the SNI. If it is empty, no SNI is sent.
	ServerName string
	// SubjectAltNames are the expected names. The server's certificate must have one of them.
	SubjectAltNames []string
	// Certificate is presented if the server requests one. [Certificate] parses it.
	Certificate tls.Certificate
	// ServerCA are the trusted CA certificates for the server's chain.
	ServerCA []*x509.Certificate
	// System trusts the system's CAs instead. They are those of the controller's image, not of the
	// sidecar's.
	System bool
	// HTTPVersion is that of the target. "1.1" and "2" are offered alone. With any other value both
	// are offered, because the sidecar offers the version of the app's call.
	HTTPVersion v1alpha1.HTTPVersion
}

// Certificate parses the certificate and its key in the data of a Secret. It doesn't validate them:
// call [credential.Check] first. The error lists everything that can't be parsed, and contains
// nothing of the key.
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

// RequestFor returns the handshake for t's credential in the data of a Secret, which
// [credential.CheckSecret] accepted with this layout. authority is the CA of the server in PEM, if
// it is neither in the Secret nor the system's.
func RequestFor(t egress.Target, data map[string][]byte, layout egress.Layout, authority []byte) (Request, error) {
	certificate, err := Certificate(data, layout)
	if err != nil {
		return Request{}, err
	}
	request := Request{
		Host: t.Host, Port: t.Port, ServerName: t.SNI, SubjectAltNames: t.SubjectAltNames, Certificate: certificate,
		Endpoints: t.EndpointsByPriority(),
		System:    t.ServerCA.System, HTTPVersion: t.HTTPVersion,
	}
	if layout.ServerCA != "" {
		authority = data[layout.ServerCA]
	}
	if !request.System {
		authorities, err := credential.ReadServerCA(layout.ServerCA, authority)
		if err != nil {
			return Request{}, err
		}
		request.ServerCA = authorities.Certificates
	}
	return request, nil
}

// Prober makes handshakes. The zero value is ready to use. It is safe for concurrent use.
type Prober struct {
	// Name is who makes the handshakes, for messages. "" means the controller.
	Name string
	// Timeout limits the whole probe. Default: [DefaultTimeout].
	Timeout time.Duration
	// Patience is the time to wait for a TLS 1.3 server to refuse the certificate. Default:
	// [DefaultPatience].
	Patience time.Duration
	// AllowLoopback allows loopback addresses and those of this host, for tests. Link-local,
	// multicast, unspecified and reserved addresses and metadata services are always refused.
	AllowLoopback bool
	// Sinkhole are the ranges of the sinkhole addresses, which a partner can't have. Default:
	// [egress.DefaultSinkholeRange].
	Sinkhole egress.Sinkhole
	// Resolver resolves names. Default: [net.DefaultResolver].
	Resolver *net.Resolver
	// SystemRoots returns the CAs that the system trusts. Default: [x509.SystemCertPool].
	SystemRoots func() (*x509.CertPool, error)
	// Now returns the time for the validation of certificates. Default: [time.Now].
	Now func() time.Time
}

// Probe makes one handshake and closes the connection. It returns when the partner has answered,
// after [Prober.Timeout], or when ctx is done. If the partner doesn't close the connection, it
// returns at most half a second later.
//
// Like the sidecar, Probe presents the certificate only to a server whose own certificate is valid.
// Any other server gets none, so that Probe sees its request for a certificate without revealing
// the client.
func (p *Prober) Probe(ctx context.Context, request Request) Observation {
	timeout := cmp.Or(p.Timeout, DefaultTimeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	try := &attempt{
		request: request,
		now:     time.Now(),
		Observation: Observation{
			Host: request.Host, Port: request.Port, ServerName: request.ServerName, HTTPVersion: request.HTTPVersion,
			Timeout: timeout, Patience: cmp.Or(p.Patience, DefaultPatience), By: p.Name,
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
	connection, at, err := p.dial(ctx, request)
	try.Host, try.Port = at.Address, at.Port
	if err != nil {
		try.fail(ctx, err)
		return try.Observation
	}
	defer func() { _ = connection.Close() }()
	try.Address = connection.RemoteAddr().String()
	try.handshake(ctx, connection)
	return try.Observation
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
		return nil, errors.New("this system has none")
	}
	return system, nil
}

// dial connects to the first endpoint that can be reached, and returns that endpoint. If none can
// be reached, it returns the first endpoint and its error. Each has an equal share of the time.
func (p *Prober) dial(ctx context.Context, request Request) (net.Conn, egress.Endpoint, error) {
	endpoints := request.Endpoints
	if len(endpoints) == 0 {
		endpoints = []egress.Endpoint{{Address: request.Host, Port: request.Port}}
	}
	dialer := net.Dialer{Resolver: p.Resolver, Control: guard(p.AllowLoopback, p.Sinkhole)}
	var failure error
	for n, endpoint := range endpoints {
		connection, err := dialWithin(ctx, dialer, endpoint, len(endpoints)-n)
		if err == nil {
			return connection, endpoint, nil
		}
		if failure == nil {
			failure = err
		}
	}
	return nil, endpoints[0], failure
}

// dialWithin connects to the endpoint within a share of the time that is left.
func dialWithin(ctx context.Context, dialer net.Dialer, endpoint egress.Endpoint, shares int) (net.Conn, error) {
	if deadline, bounded := ctx.Deadline(); bounded && shares > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(shares))
		defer cancel()
	}
	if _, isIP := endpoint.IP(); !isIP {
		// The sidecar's endpoint has the dot too.
		endpoint.Address = strings.TrimSuffix(endpoint.Address, ".") + "."
	}
	return dialer.DialContext(ctx, "tcp", endpoint.String())
}

// attempt is the state of a probe.
type attempt struct {
	Observation

	request Request
	roots   *x509.CertPool
	now     time.Time
	// interrupt stops the wait for the server's answer.
	interrupt func()
}

func (a *attempt) handshake(ctx context.Context, connection net.Conn) {
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
		// In TLS 1.2, the server sends Finished, which ends the handshake, after it received the
		// certificate (RFC 5246 §7.3).
		a.Answer = Finished
	}
	closeGracefully(secured, bounded)
}

// config returns what a sidecar offers: TLS 1.2 and 1.3 as in Istio's settings, and Envoy's curves
// (https://github.com/envoyproxy/envoy/blob/main/source/common/tls/context_config_impl.cc). Go's
// default adds a post-quantum key exchange, and some servers fail on its long ClientHello.
func (a *attempt) config() *tls.Config {
	protocols := []string{"h2", "http/1.1"}
	switch a.request.HTTPVersion {
	case v1alpha1.HTTPVersion1:
		protocols = []string{"http/1.1"}
	case v1alpha1.HTTPVersion2:
		protocols = []string{"h2"}
	case v1alpha1.HTTPVersionAuto:
	}
	return &tls.Config{
		ServerName:       a.request.ServerName,
		MinVersion:       tls.VersionTLS12,
		MaxVersion:       tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256},
		NextProtos:       protocols,
		Time:             func() time.Time { return a.now },
		// crypto/tls stops at the first problem with a server, and compares names by other rules than
		// Envoy.
		InsecureSkipVerify:   true, //nolint:gosec // VerifyConnection verifies, and no application data is sent.
		VerifyConnection:     a.verify,
		GetClientCertificate: a.present,
		ClientSessionCache:   tickets(a.accepted),
	}
}

// verify continues with an untrusted server, to see its request for a certificate.
func (a *attempt) verify(state tls.ConnectionState) error {
	chain := state.PeerCertificates
	a.Problems = verify(chain, a.roots, a.request.SubjectAltNames, a.now)
	a.Version = state.Version
	if len(chain) > 0 {
		a.Matched, _ = matched(chain[0], a.request.SubjectAltNames)
		a.Server = &Server{
			Subject:   credential.DistinguishedName(chain[0].RawSubject),
			Issuer:    credential.DistinguishedName(chain[0].RawIssuer),
			Names:     namesOf(chain[0]),
			NotBefore: chain[0].NotBefore.UTC(),
			NotAfter:  chain[0].NotAfter.UTC(),
			DaysLeft:  credential.DaysLeft(chain[0].NotAfter, a.now),
			Chain:     chain,
		}
	}
	return nil
}

// present ignores the CAs that the server names, like Envoy.
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
	// Without the names of CAs, SupportsCertificate only checks the type of the key.
	schemes := tls.CertificateRequestInfo{Version: asked.Version, SignatureSchemes: asked.SignatureSchemes}
	a.Asked.KeyAccepted = schemes.SupportsCertificate(&a.request.Certificate) == nil
	if len(a.Problems) > 0 || !a.Asked.KeyAccepted {
		return &tls.Certificate{}, nil
	}
	a.Presented = true
	return &a.request.Certificate, nil
}

// tickets is called for each session ticket. It stores none, so every probe is a full handshake.
type tickets func()

// Get is part of tls.ClientSessionCache. It never finds a session.
func (tickets) Get(string) (*tls.ClientSessionState, bool) { return nil, false }

// Put is part of tls.ClientSessionCache. It stores nothing.
func (t tickets) Put(string, *tls.ClientSessionState) { t() }

func (a *attempt) accepted() {
	a.Answer = Ticket
	a.interrupt()
}

// await waits for a sign that the server has validated the certificate. In TLS 1.3, the client's
// handshake ends before the server's, and an alert or a session ticket follows. The server sends a
// ticket only after it accepted the client's Finished (RFC 8446 §4.6.1). crypto/tls handles both
// while it reads. Application data, which a server may send earlier, proves nothing.
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

// closeGracefully closes a connection so that the partner sees no reset: it sends close_notify and
// FIN, and reads what the partner still sends.
func closeGracefully(secured *tls.Conn, connection *boundedConn) {
	_ = connection.SetDeadline(time.Now().Add(closeTimeout))
	_ = secured.CloseWrite()
	if half, ok := connection.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, connection)
}

// fail records the reason for an incomplete handshake.
func (a *attempt) fail(ctx context.Context, err error) {
	a.Failure, a.Alert, a.Detail = a.classify(err)
	// Deadlines and the end of ctx result in such errors.
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
			return NotResolved, 0, "no addresses found"
		}
		return NotResolved, 0, credential.Printable(lookup.Err)
	}
	if refused, ok := errors.AsType[*refusedAddressError](err); ok {
		return Refused, 0, refused.Error()
	}
	if a.Address == "" {
		return NotConnected, 0, connectError(err)
	}
	// Conn is only set for the first record.
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

// connectError returns the innermost error of a dialer, for example "connection refused". The outer
// ones name address and operation.
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
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE)
}

// alertOf returns the alert from the partner. crypto/tls does not export the alert's type, so
// alertOf compares the text.
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

// boundedConn limits the number of bytes to read.
type boundedConn struct {
	net.Conn

	left int
}

// Read fails if the limit is reached.
func (c *boundedConn) Read(b []byte) (int, error) {
	if c.left == 0 {
		return 0, fmt.Errorf("the partner sent more than %d bytes", maxRead)
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}
