package webhookport

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

const (
	// rereadAfter is how old the authorities may be that a client is verified with. A kubelet writes a
	// changed ConfigMap within about a minute.
	rereadAfter = 10 * time.Second
	// maxClientCA bounds the file, in bytes: a ConfigMap has no more.
	maxClientCA = 1 << 20
)

// ClientCA are the authorities that sign the certificates of the clients that may ask for
// admission. They are read again when their file has changed.
type ClientCA struct {
	file string
	log  logr.Logger

	mu      sync.Mutex
	content []byte
	pool    *x509.CertPool
	read    time.Time
}

// ReadClientCA reads the authorities from a PEM file. The error says why there are none.
func ReadClientCA(file string, log logr.Logger) (*ClientCA, error) {
	c := &ClientCA{file: file, log: log}
	if err := c.readFile(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *ClientCA) readFile() error {
	c.read = time.Now()
	content, err := os.ReadFile(c.file)
	switch {
	case err != nil:
		return err
	case len(content) > maxClientCA:
		return fmt.Errorf("%s has %d bytes: at most %d are read", c.file, len(content), maxClientCA)
	case c.pool != nil && bytes.Equal(content, c.content):
		return nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return errors.New(c.file + " holds no certificate that can be read: it must hold the CA of the API server's client certificate, as PEM")
	}
	c.content, c.pool = content, pool
	return nil
}

// current are the authorities of now. While their file can't be read they are those of before.
func (c *ClientCA) current() *x509.CertPool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.read) >= rereadAfter {
		if err := c.readFile(); err != nil {
			c.log.Error(err, "Cannot read the CA of clients again, going on with the one from before", "file", c.file)
		}
	}
	return c.pool
}

// configure has a TLS server ask for a certificate. A client without one gets through the
// handshake, as the check of readiness does, and no further: see presented. No session is resumed,
// so that every connection is verified with the authorities of now.
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

// presented reports whether a request came with a certificate that one of the authorities has
// signed for a client.
func presented(r *http.Request) bool {
	return r.TLS != nil && len(r.TLS.VerifiedChains) > 0
}
