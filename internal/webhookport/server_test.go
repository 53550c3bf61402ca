package webhookport

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"

	"mtls.egress/webhook/test/pki"
)

// started is a running server on the loopback interface with a connection limit.
type started struct {
	address string
	stop    context.CancelFunc
	ended   chan error
}

func start(t *testing.T, limit int, handler http.Handler) *started {
	t.Helper()
	pair := pki.NewCA(t, "CA").Issue(t, pki.Server("localhost"))
	certificate, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer("127.0.0.1", 0,
		func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate, nil }, nil, logr.Discard())
	server.Register("/mutate", handler)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := &started{address: listener.Addr().String(), stop: cancel, ended: make(chan error, 1)}
	go func() { s.ended <- server.serve(ctx, listener, limit) }()
	t.Cleanup(cancel)
	return s
}

func (s *started) dial(t *testing.T) *tls.Conn {
	t.Helper()
	connection, err := tls.Dial("tcp", s.address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

// ask sends a request and returns the first line of the response.
func ask(t *testing.T, connection net.Conn) string {
	t.Helper()
	if _, err := io.WriteString(connection, "GET /mutate HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func ok(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }

func TestMoreConnectionsThanTheLimitWait(t *testing.T) {
	s := start(t, 2, http.HandlerFunc(ok))
	useful, idle := s.dial(t), s.dial(t)
	waiting, err := net.Dial("tcp", s.address) // the kernel accepts it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = waiting.Close() })
	answer := make(chan string, 1)
	go func() { answer <- ask(t, tls.Client(waiting, &tls.Config{InsecureSkipVerify: true})) }()
	if got := ask(t, useful); got != "HTTP/1.1 200 OK" {
		t.Error(got)
	}
	select {
	case got := <-answer:
		t.Errorf("a third connection was answered: %s", got)
	default:
	}
	if err := idle.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-answer; got != "HTTP/1.1 200 OK" {
		t.Error(got)
	}
}

func TestTheEndWaitsForRequestsUnderWay(t *testing.T) {
	working, release := make(chan struct{}), make(chan struct{})
	s := start(t, 5, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(working)
		<-release
		w.WriteHeader(http.StatusOK)
	}))
	connection := s.dial(t)
	answer := make(chan string, 1)
	go func() { answer <- ask(t, connection) }()
	<-working
	s.stop()
	for { // until the listener is closed
		late, err := net.Dial("tcp", s.address)
		if err != nil {
			break
		}
		_ = late.Close()
	}
	close(release)
	if got := <-answer; got != "HTTP/1.1 200 OK" {
		t.Error(got)
	}
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
}

func TestFailedConnectionsAreLoggedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := 0
		log := &seldom{log: logr.New(counting{lines: &lines}), limiter: rate.NewLimiter(rate.Every(time.Second), 10)}
		for range 1000 {
			if _, err := log.Write([]byte("http: TLS handshake error\n")); err != nil {
				t.Fatal(err)
			}
		}
		if lines != 10 {
			t.Errorf("%d lines at once, want 10", lines)
		}
		time.Sleep(time.Second)
		_, _ = log.Write([]byte("http: TLS handshake error\n"))
		if lines != 11 {
			t.Errorf("%d lines a second later, want 11", lines)
		}
	})
}

// counting counts log lines.
type counting struct {
	logr.LogSink
	lines *int
}

func (counting) Init(logr.RuntimeInfo)            {}
func (counting) Enabled(int) bool                 { return true }
func (c counting) Info(int, string, ...any)       { *c.lines++ }
func (c counting) WithValues(...any) logr.LogSink { return c }
func (c counting) WithName(string) logr.LogSink   { return c }
func (c counting) Error(error, string, ...any)    { *c.lines++ }
