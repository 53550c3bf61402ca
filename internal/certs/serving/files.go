package serving

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

// readInterval is how often the files are read. The kubelet needs a minute or more to update the
// files of a changed Secret, so a watch would bring no benefit.
const readInterval = 5 * time.Second

// errNotRead is the error before the files are read the first time.
var errNotRead = errors.New("the files have not been read yet")

// files reads leaves from a mounted Secret that cert-manager or another tool writes. It uses the
// three files only together. If they are not usable, it keeps the last usable ones.
// controller-runtime's certwatcher is not sufficient, because the CA of the leaf is also needed.
type files struct {
	directory string
	names     []string
	changed   func()
	log       logr.Logger
	now       func() time.Time

	mu      sync.Mutex
	read    content          // the last content of the files
	problem error            // why it is not usable
	leaf    *tls.Certificate // the last usable leaf
	ca      []byte
}

// content is the content of the files.
type content struct{ certificate, key, ca []byte }

func newFiles(options Options, changed func()) *files {
	return &files{
		directory: options.Directory,
		names:     options.DNSNames,
		changed:   changed,
		log:       options.Logger,
		now:       time.Now,
		problem:   errNotRead,
	}
}

// Start reads the files until ctx ends.
func (f *files) Start(ctx context.Context) {
	tick := time.NewTicker(readInterval)
	defer tick.Stop()
	for {
		f.reload()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// GetCertificate returns the last usable leaf, or an error if there was none.
func (f *files) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leaf == nil {
		return nil, f.problem
	}
	return f.leaf, nil
}

// authorities returns the CA of the leaf.
func (f *files) authorities() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ca
}

func (f *files) reload() {
	found, err := readFiles(f.directory)
	var leaf *tls.Certificate
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		if f.leaf != nil && found.equal(f.read) && f.problem == nil {
			return
		}
		leaf, err = found.pair(f.names, f.now())
	}
	if err != nil {
		if f.problem == nil || f.problem.Error() != err.Error() {
			f.log.Error(err, "The files of the serving certificate are not usable, keeping the last usable ones",
				"directory", f.directory)
		}
		f.problem = err
		return
	}
	f.read, f.problem, f.leaf, f.ca = found, nil, leaf, found.ca
	f.changed()
}

func (c content) equal(other content) bool {
	return bytes.Equal(c.certificate, other.certificate) && bytes.Equal(c.key, other.key) && bytes.Equal(c.ca, other.ca)
}

// readFiles reads the files of a mounted Secret consistently. The kubelet updates them atomically,
// by changing the target of the link ..data.
func readFiles(directory string) (content, error) {
	if state, err := filepath.EvalSymlinks(filepath.Join(directory, "..data")); err == nil {
		directory = state
	}
	var found content
	var problems []error
	for name, target := range map[string]*[]byte{
		"tls.crt": &found.certificate, "tls.key": &found.key, caKey: &found.ca,
	} {
		var err error
		*target, err = os.ReadFile(filepath.Join(directory, name))
		problems = append(problems, err)
	}
	return found, errors.Join(problems...)
}

// pair returns the leaf. It returns an error unless the leaf is valid now, signed by the CA, usable
// for a server, and issued for one of names.
func (c content) pair(names []string, now time.Time) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(c.certificate, c.key)
	if err != nil {
		return nil, fmt.Errorf("tls.crt and tls.key: %w", err)
	}
	if err := validAt(pair.Leaf, now); err != nil {
		return nil, fmt.Errorf("tls.crt: %w", err)
	}
	authorities, err := parseBundle(c.ca)
	if err != nil {
		return nil, fmt.Errorf("ca.crt: %w", err)
	}
	if len(authorities) == 0 {
		return nil, errors.New(
			"ca.crt contains no certificate: use an issuer that writes its CA, which the API server must trust")
	}
	check := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now}
	for _, authority := range authorities {
		check.Roots.AddCert(authority)
	}
	for _, der := range pair.Certificate[1:] {
		if intermediate, err := x509.ParseCertificate(der); err == nil {
			check.Intermediates.AddCert(intermediate)
		}
	}
	if _, err := pair.Leaf.Verify(check); err != nil {
		return nil, fmt.Errorf("tls.crt is not signed by ca.crt: %w", err)
	}
	for _, name := range names {
		if pair.Leaf.VerifyHostname(name) == nil {
			return &pair, nil
		}
	}
	return nil, fmt.Errorf("tls.crt is not issued for %s, which the API server calls", strings.Join(names, ", "))
}
