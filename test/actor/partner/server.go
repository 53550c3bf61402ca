package partner

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// ClientAuth says what the partner asks of its callers.
type ClientAuth string

// What the partner may ask of its callers.
const (
	// ClientAuthRequire refuses the handshake without a certificate of the client CA.
	ClientAuthRequire ClientAuth = "require"
	// ClientAuthRequest takes callers without a certificate too, and refuses one that another CA has
	// signed.
	ClientAuthRequest ClientAuth = "request"
	// ClientAuthNone asks for none.
	ClientAuthNone ClientAuth = "none"
)

// Options say what a [Server] listens on and how it speaks TLS.
type Options struct {
	// Plain and TLS are the addresses for plain HTTP and for TLS, such as ":80".
	Plain, TLS []string
	// Control is the address of the control port; it speaks plain HTTP and records nothing.
	Control string
	// Certificates is a folder with default.crt and default.key, further pairs that are chosen by
	// their DNS names, and client-ca.crt. A change is in use from the next handshake on. It may be
	// empty when TLS is.
	Certificates string
	// ClientAuth is what TLS asks of callers.
	ClientAuth ClientAuth
	// Log receives a line for each problem that no record tells.
	Log io.Writer
}

// Bounds of a connection and of the whole.
const (
	maxConnections   = 200_000
	maxRequests      = 100_000
	maxHeaderBytes   = 64 << 10
	handshakeTimeout = 10 * time.Second
	refusalTimeout   = 5 * time.Second
)

// Server is a partner. [Listen] makes one.
type Server struct {
	book       *book
	clientAuth tls.ClientAuthType
	keyrings   *keyrings
	// tlsConfig is one for all connections, because it holds the keys of the session tickets.
	tlsConfig *tls.Config
	name      string
	log       io.Writer

	plain, tls []*net.TCPListener
	control    net.Listener
}

// Listen opens the ports; nothing is accepted before [Server.Serve].
func Listen(ctx context.Context, options Options) (*Server, error) {
	return listen(ctx, options, limits{connections: maxConnections, requests: maxRequests})
}

func listen(ctx context.Context, options Options, bounds limits) (_ *Server, err error) {
	clientAuth, ok := map[ClientAuth]tls.ClientAuthType{
		ClientAuthRequire: tls.RequireAndVerifyClientCert,
		ClientAuthRequest: tls.VerifyClientCertIfGiven,
		ClientAuthNone:    tls.NoClientCert,
	}[options.ClientAuth]
	if !ok {
		return nil, fmt.Errorf("client authentication %q: it must be require, request or none", options.ClientAuth)
	}
	name, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("ask for the host's name: %w", err)
	}
	s := &Server{book: newBook(bounds), clientAuth: clientAuth, name: name, log: options.Log}
	s.tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: s.configFor}
	if len(options.TLS) > 0 {
		if s.keyrings, err = newKeyrings(options.Certificates, options.Log); err != nil {
			return nil, err
		}
		if clientAuth != tls.NoClientCert && s.keyrings.ring.clientCAs == nil {
			return nil, fmt.Errorf("client authentication %s: %s holds no %s",
				options.ClientAuth, options.Certificates, clientCA)
		}
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.plain, err = listenAll(ctx, options.Plain); err != nil {
		return nil, err
	}
	if s.tls, err = listenAll(ctx, options.TLS); err != nil {
		return nil, err
	}
	control, err := listenAll(ctx, []string{options.Control})
	if err != nil {
		return nil, err
	}
	s.control = control[0]
	return s, nil
}

// listenAll opens all of the addresses or none.
func listenAll(ctx context.Context, addresses []string) ([]*net.TCPListener, error) {
	var listeners []*net.TCPListener
	var problems []error
	for _, address := range addresses {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			problems = append(problems, fmt.Errorf("listen on %q: %w", address, err))
			continue
		}
		listeners = append(listeners, listener.(*net.TCPListener))
	}
	if err := errors.Join(problems...); err != nil {
		for _, listener := range listeners {
			_ = listener.Close()
		}
		return nil, err
	}
	return listeners, nil
}

// PlainPorts are the ports that speak plain HTTP, in the order of the options.
func (s *Server) PlainPorts() []int { return portsOf(s.plain) }

// TLSPorts are the ports that speak TLS, in the order of the options.
func (s *Server) TLSPorts() []int { return portsOf(s.tls) }

// ControlPort is the port for [Client].
func (s *Server) ControlPort() int { return addressOf(s.control.Addr()).Port }

func portsOf(listeners []*net.TCPListener) []int {
	var ports []int
	for _, listener := range listeners {
		ports = append(ports, addressOf(listener.Addr()).Port)
	}
	return ports
}

// close closes the ports.
func (s *Server) close() {
	for _, listener := range append(s.plain, s.tls...) {
		_ = listener.Close()
	}
	if s.control != nil {
		_ = s.control.Close()
	}
}

// Serve answers until the context ends; then it closes every connection at once and returns nil.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := log.New(s.log, "", 0)
	partner := &http.Server{
		Handler: s.protocols(), ConnContext: withConn,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: quiet, Protocols: new(http.Protocols),
	}
	partner.Protocols.SetHTTP1(true)
	partner.Protocols.SetHTTP2(true)
	partner.Protocols.SetUnencryptedHTTP2(true)
	control := &http.Server{Handler: s.controlHandler(), ReadHeaderTimeout: handshakeTimeout, ErrorLog: quiet}

	var work sync.WaitGroup
	serve := func(server *http.Server, listener net.Listener) {
		work.Go(func() {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("serve %s: %w", listener.Addr(), err))
			}
		})
	}
	greeted := &greetedListener{connections: make(chan net.Conn), closed: make(chan struct{})}
	serve(control, s.control)
	serve(partner, greeted)
	for _, listener := range s.plain {
		work.Go(func() {
			s.accept(ctx, cancel, listener, false, func(c *conn) { greeted.hand(ctx, c, c) })
		})
	}
	for _, listener := range s.tls {
		work.Go(func() {
			s.accept(ctx, cancel, listener, true, func(c *conn) { work.Go(func() { s.greet(ctx, c, greeted) }) })
		})
	}
	<-ctx.Done()
	s.close()
	_ = partner.Close()
	_ = control.Close()
	work.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return nil
}

// accept records every connection from the moment that it is accepted and hands it on.
func (s *Server) accept(
	ctx context.Context,
	fail context.CancelCauseFunc,
	listener *net.TCPListener,
	speaksTLS bool,
	hand func(*conn),
) {
	for {
		accepted, err := listener.AcceptTCP()
		if ctx.Err() != nil {
			if err == nil {
				_ = accepted.Close()
			}
			return
		}
		if err != nil {
			fail(fmt.Errorf("accept on %s: %w", listener.Addr(), err))
			return
		}
		hand(record(accepted, s.book, speaksTLS))
	}
}

// greet does the handshake before the HTTP server sees the connection, as that tells nobody how a
// handshake failed.
func (s *Server) greet(ctx context.Context, c *conn, greeted *greetedListener) {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	kind, err := c.peek()
	if err != nil {
		_ = c.Close()
		return
	}
	if kind == KindPlain {
		s.refuse(c)
		return
	}
	secured := tls.Server(c, s.tlsConfig)
	handshake, cancel := context.WithTimeout(ctx, handshakeTimeout)
	err = secured.HandshakeContext(handshake)
	cancel()
	s.book.handshake(c.entry, secured.ConnectionState(), err)
	if err != nil {
		c.linger(time.Now().Add(refusalTimeout))
		return
	}
	switch state := secured.ConnectionState(); {
	case state.ServerName == OnlyHTTP2Name && state.NegotiatedProtocol != "h2":
		c.linger(time.Now().Add(refusalTimeout))
		return
	case state.ServerName == VerbatimName:
		s.repeat(secured, c)
		return
	}
	greeted.hand(ctx, secured, c)
}

// configFor chooses the certificate for one handshake.
func (s *Server) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	c, ok := hello.Conn.(*conn)
	if !ok {
		return nil, fmt.Errorf("handshake on a %T", hello.Conn)
	}
	s.book.greet(c.entry, hello.ServerName)
	ring := s.keyrings.current()
	protocols := []string{"h2", "http/1.1"}
	if own, narrow := narrowProtocols()[hello.ServerName]; narrow {
		protocols = own
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{ring.certificateFor(hello.ServerName)},
		ClientAuth:   s.clientAuth,
		ClientCAs:    ring.clientCAs,
		NextProtos:   protocols,
	}, nil
}

// refuse answers a caller that speaks no TLS on a TLS port, as net/http does, but reads what it had
// to say first.
func (s *Server) refuse(c *conn) {
	until := time.Now().Add(refusalTimeout)
	if err := c.SetDeadline(until); err != nil {
		_ = c.Close()
		return
	}
	request, err := http.ReadRequest(bufio.NewReader(io.LimitReader(c, maxHeaderBytes)))
	if err == nil {
		_, _ = s.note(c.entry, request) // a body that breaks off is recorded as far as it came
	}
	_, _ = io.WriteString(c, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
	c.linger(until)
}

// greetedListener hands connections to an HTTP server.
type greetedListener struct {
	connections chan net.Conn
	once        sync.Once
	closed      chan struct{}
}

// hand hands on a connection, which is TLS or recorded itself.
func (l *greetedListener) hand(ctx context.Context, connection net.Conn, recorded *conn) {
	select {
	case l.connections <- connection:
	case <-ctx.Done():
		_ = recorded.Close()
	}
}

// Accept waits for the next connection.
func (l *greetedListener) Accept() (net.Conn, error) {
	select {
	case connection := <-l.connections:
		return connection, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (l *greetedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr names the listener in messages.
func (l *greetedListener) Addr() net.Addr { return handedAddress{} }

type handedAddress struct{}

func (handedAddress) Network() string { return "tcp" }
func (handedAddress) String() string  { return "the accepted connections" }
