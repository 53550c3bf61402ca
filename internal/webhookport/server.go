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
	"golang.org/x/net/netutil"
	"golang.org/x/time/rate"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

const (
	// maxConnections is the maximum number of open connections. More wait until one is closed: one
	// that says nothing is closed after handshakeTimeout. An API server keeps one to 25 of them open,
	// and opens more for concurrent requests.
	maxConnections = 1024
	// maxHeader is the maximum size of a request header. An API server sends a few hundred bytes.
	maxHeader = 8 << 10
	// handshakeTimeout bounds the TLS handshake, and then the reading of the request header.
	handshakeTimeout = 5 * time.Second
	// requestTimeout bounds the reading of a request including its body.
	requestTimeout = 10 * time.Second
	// answerTimeout bounds a request from reading to response. It is longer than any API server
	// waits.
	answerTimeout = requestTimeout + maxWait + requestTimeout
	// idleTimeout must exceed the 90 seconds after which an API server closes an idle connection.
	// If this side closed first, a request sent at that moment would fail, and a POST is not
	// retried.
	//
	// https://github.com/kubernetes/kubernetes/blob/v1.36.0/staging/src/k8s.io/apimachinery/pkg/util/net/http.go
	// (SetOldTransportDefaults).
	idleTimeout = 2 * time.Minute
	// drainTimeout bounds the wait for in-flight requests on shutdown. The manager's own limit is
	// lower.
	drainTimeout = time.Minute
)

// Server is controller-runtime's webhook server with its handlers, metrics and checker, on a
// listener with limits.
type Server struct {
	*webhook.DefaultServer
	tls *tls.Config
	log logr.Logger
}

// NewServer returns a server for a manager. It supports TLS 1.3, like all API servers, and only
// HTTP/1.1, because HTTP/2 allows a denial of service (CVE-2023-44487,
// https://github.com/kubernetes/kubernetes/issues/121197). If clients is not nil, it requests a
// client certificate; [Admission] refuses clients without one.
func NewServer(
	host string,
	port int,
	certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error),
	clients *ClientCA,
	log logr.Logger,
) *Server {
	config := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, GetCertificate: certificate}
	if clients != nil {
		clients.configure(config)
	}
	return &Server{
		DefaultServer: &webhook.DefaultServer{
			Options: webhook.Options{Host: host, Port: port, WebhookMux: http.NewServeMux()},
		},
		tls: config,
		log: log,
	}
}

// Start serves until ctx is canceled, and then finishes in-flight requests. It returns an error if
// it can't listen.
func (s *Server) Start(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp",
		net.JoinHostPort(s.Options.Host, strconv.Itoa(s.Options.Port)))
	if err != nil {
		return err
	}
	return s.serve(ctx, listener, maxConnections)
}

// serve is Start with a listener, and with a limit on the number of open connections.
func (s *Server) serve(ctx context.Context, listener net.Listener, limit int) error {
	listener = netutil.LimitListener(listener, limit)
	server := &http.Server{
		Handler:           bare(s.Options.WebhookMux),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		MaxHeaderBytes:    maxHeader,
		ReadHeaderTimeout: handshakeTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          log.New(&seldom{log: s.log, limiter: rate.NewLimiter(rate.Every(time.Second), 10)}, "", 0),
		// Without this, the server would accept a connection that claims to use HTTP/2, even if
		// NextProtos doesn't list it.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	ended := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		ended <- server.Shutdown(ctx)
	})
	s.log.Info("Serving admission requests", "address", listener.Addr().String())
	if err := server.Serve(tls.NewListener(listener, s.tls)); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return err
	}
	return <-ended
}

// StartedChecker returns a check that the port completes a TLS handshake. It ignores the
// certificate, which has its own check.
func (s *Server) StartedChecker() healthz.Checker {
	return func(r *http.Request) error {
		dialer := &tls.Dialer{
			//nolint:gosec // the process asks itself whether it answers
			Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13},
		}
		ctx, cancel := context.WithTimeout(r.Context(), handshakeTimeout)
		defer cancel()
		c, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(s.Options.Host, strconv.Itoa(s.Options.Port)))
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// bare answers unknown paths without the standard library's text.
func bare(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler, pattern := mux.Handler(r)
		if pattern == "" || pattern != r.URL.Path { // the mux would redirect the second case
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusNotFound)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// seldom logs connection errors of the standard library, mostly failed handshakes. Clients can
// cause any number of them, so it limits the rate.
type seldom struct {
	log     logr.Logger
	limiter *rate.Limiter
}

// maxProblem is the maximum number of logged bytes of a line, which may contain data from the
// client.
const maxProblem = 500

// Write logs or drops a line.
func (s *seldom) Write(line []byte) (int, error) {
	if s.limiter.Allow() {
		s.log.Info("A connection to the webhook port failed", "problem",
			strings.ToValidUTF8(string(line[:min(len(line), maxProblem)]), ""))
	}
	return len(line), nil
}
