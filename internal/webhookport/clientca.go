package webhookport

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

const (
	// rereadAfter is the maximum age of the CA certificates. A kubelet updates a mounted ConfigMap
	// within about a minute.
	rereadAfter = 10 * time.Second
	// maxClientCA bounds the file in bytes. A ConfigMap is at most this large.
	maxClientCA = 1 << 20
)

// ClientCA holds the CA certificates for client authentication. It reloads them when the file
// changes.
type ClientCA struct {
	file string
	log  logr.Logger

	mu      sync.Mutex
	content []byte
	pool    *x509.CertPool
	read    time.Time
}

// ReadClientCA reads the CA certificates from a PEM file. It returns an error if there are none.
func ReadClientCA(file string, log logr.Logger) (*ClientCA, error) {
	c := &ClientCA{file: file, log: log}
	if err := c.readFile(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *ClientCA) readFile() error {
	c.read = time.Now()
	file, err := os.Open(c.file)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	content, err := io.ReadAll(io.LimitReader(file, maxClientCA+1))
	switch {
	case err != nil:
		return err
	case len(content) > maxClientCA:
		return fmt.Errorf("%s has more than %d bytes", c.file, maxClientCA)
	case c.pool != nil && bytes.Equal(content, c.content):
		return nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return errors.New(c.file + " contains no valid certificate: it must contain the CA of the API server's " +
			"client certificate in PEM")
	}
	c.content, c.pool = content, pool
	return nil
}

// current returns the current CA certificates. If the file can't be read, it returns the previous
// ones.
func (c *ClientCA) current() *x509.CertPool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.read) >= rereadAfter {
		if err := c.readFile(); err != nil {
			c.log.Error(err, "Failed to reload the client CA; continuing with the previous one", "file", c.file)
		}
	}
	return c.pool
}

// configure makes a TLS server request a client certificate. A client without one completes the
// handshake, which the readiness check needs, but gets no further; see presented. Sessions are
// never resumed, so every connection is verified with the current CA certificates.
func (c *ClientCA) configure(config *tls.Config) {
	config.SessionTicketsDisabled = true
	config.ClientAuth = tls.VerifyClientCertIfGiven
	config.ClientCAs = c.current()
	verified := config.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		current := verified.Clone()
		current.ClientCAs = c.current()
		return current, nil
	}
}

// presented reports whether the client presented a certificate that one of the CAs signed for
// client authentication.
func presented(r *http.Request) bool {
	return r.TLS != nil && len(r.TLS.VerifiedChains) > 0
}
