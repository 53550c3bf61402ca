package webhookport

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

const (
	// maxConnections is how many connections are open at one time. An API server keeps one to 25 of
	// them, and opens more for requests that it sends at the same time.
	maxConnections = 1024
	// maxHeader is the most that the header of a request may have. An API server sends some hundred
	// bytes.
	maxHeader = 8 << 10
	// handshakeTimeout is how long the TLS handshake, and then the header of a request, may take.
	handshakeTimeout = 5 * time.Second
	// requestTimeout is how long a request may take to come, with its body.
	requestTimeout = 10 * time.Second
	// answerTimeout is how long a request may take to come, to be worked on and to be answered. It is
	// more than an API server ever waits.
	answerTimeout = requestTimeout + maxWait + requestTimeout
	// idleTimeout has to be more than the 90 seconds after which an API server closes a connection
	// that it doesn't use. Whoever closes first must not be this side: a request that is on its way
	// just then would fail, and a POST is not repeated.
	// https://github.com/kubernetes/kubernetes/blob/v1.36.0/staging/src/k8s.io/apimachinery/pkg/util/net/http.go
	// (SetOldTransportDefaults)
	idleTimeout = 2 * time.Minute
	// drainTimeout bounds the wait for requests under way at the end; the manager's own bound is less.
	drainTimeout = time.Minute
)

// Server is controller-runtime's webhook server with its handlers, their metrics and its check, on
// a listener with bounds.
type Server struct {
	*webhook.DefaultServer
	tls *tls.Config
	log logr.Logger
}

// NewServer returns a server for a manager. It speaks TLS 1.3, which every API server does, and
// HTTP/1.1 only: whoever reaches the port could wear it out over HTTP/2 (CVE-2023-44487,
// https://github.com/kubernetes/kubernetes/issues/121197). It asks clients for a certificate when
// there are authorities for them, nil otherwise; [Admission] refuses those without.
func NewServer(host string, port int, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error), clients *ClientCA, log logr.Logger) *Server {
	config := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, GetCertificate: certificate}
	if clients != nil {
		clients.configure(config)
	}
	return &Server{
		DefaultServer: &webhook.DefaultServer{Options: webhook.Options{Host: host, Port: port, WebhookMux: http.NewServeMux()}},
		tls:           config,
		log:           log,
	}
}

// Start serves until ctx ends, and then until the requests under way are answered. The error says
// why there is no listener.
func (s *Server) Start(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(s.Options.Host, strconv.Itoa(s.Options.Port)))
	if err != nil {
		return err
	}
	return s.serve(ctx, listener, newConnections(maxConnections))
}

func (s *Server) serve(ctx context.Context, listener net.Listener, all *connections) error {
	server := &http.Server{
		Handler:           bare(s.Options.WebhookMux),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withConnection,
		MaxHeaderBytes:    maxHeader,
		ReadHeaderTimeout: handshakeTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          log.New(&seldom{log: s.log, limiter: rate.NewLimiter(rate.Every(time.Second), 10)}, "", 0),
		// Even without it in NextProtos, the server would take a connection that says it is one of
		// HTTP/2.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	ended := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		ended <- server.Shutdown(ctx)
	})
	s.log.Info("Serving admission requests", "address", listener.Addr().String())
	if err := server.Serve(tls.NewListener(all.listen(listener), s.tls)); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return err
	}
	return <-ended
}

// withConnection makes the connection known to work.
func withConnection(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	return context.WithValue(ctx, connectionKey{}, c)
}

// StartedChecker is nil when the port answers a TLS handshake, whatever the certificate: another
// check looks at that.
func (s *Server) StartedChecker() healthz.Checker {
	return func(r *http.Request) error {
		dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}} //nolint:gosec // the process asks itself whether it answers
		ctx, cancel := context.WithTimeout(r.Context(), handshakeTimeout)
		defer cancel()
		c, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(s.Options.Host, strconv.Itoa(s.Options.Port)))
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// bare answers paths that nobody handles without the text that the standard library gives them.
func bare(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler, pattern := mux.Handler(r)
		if pattern == "" || pattern != r.URL.Path { // the second is one that the mux would redirect
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusNotFound)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// seldom logs what the standard library reports of connections, most of all failed handshakes.
// There can be as many of them as a client likes.
type seldom struct {
	log     logr.Logger
	limiter *rate.Limiter
}

// maxProblem is how many bytes of a line are logged. What a client presents in a handshake may be
// in it.
const maxProblem = 500

// Write logs a line, or drops it.
func (s *seldom) Write(line []byte) (int, error) {
	if s.limiter.Allow() {
		s.log.Info("A connection to the webhook's port failed", "problem", strings.ToValidUTF8(string(line[:min(len(line), maxProblem)]), ""))
	}
	return len(line), nil
}
