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

// readInterval is how often the files are read. The kubelet takes a minute or more to bring a
// changed Secret, so nothing is gained by a watch.
const readInterval = 5 * time.Second

// errNotRead is there for the first moments.
var errNotRead = errors.New("the files have not been read yet")

// files is the origin of leaves that something else issues: cert-manager, through a Secret that is
// mounted. The three files are used together or not at all: what can't be used leaves the last ones
// that could. controller-runtime's certwatcher would do for the leaf; here its CA has to be known
// with it.
type files struct {
	directory string
	names     []string
	changed   func()
	log       logr.Logger
	now       func() time.Time

	mu      sync.Mutex
	read    content          // what was found last
	problem error            // why it can't be used
	leaf    *tls.Certificate // what is used
	ca      []byte
}

// content is what the files have.
type content struct{ certificate, key, ca []byte }

func newFiles(options Options, changed func()) *files {
	return &files{directory: options.Directory, names: options.DNSNames, changed: changed, log: options.Logger, now: time.Now, problem: errNotRead}
}

// Start reads the files until ctx ends.
func (f *files) Start(ctx context.Context) error {
	tick := time.NewTicker(readInterval)
	defer tick.Stop()
	for {
		f.reload()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// GetCertificate is the leaf that could be used last, or why there was none.
func (f *files) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leaf == nil {
		return nil, f.problem
	}
	return f.leaf, nil
}

// authorities is the CA of the leaf.
func (f *files) authorities() ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ca, nil
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
			f.log.Error(err, "The files of the serving certificate cannot be used; what could be used last stays", "directory", f.directory)
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

// readFiles reads the files of one state of a mounted Secret, which the kubelet replaces by
// pointing the link ..data at another directory.
func readFiles(directory string) (content, error) {
	if state, err := filepath.EvalSymlinks(filepath.Join(directory, "..data")); err == nil {
		directory = state
	}
	var found content
	var problems []error
	for name, target := range map[string]*[]byte{"tls.crt": &found.certificate, "tls.key": &found.key, caKey: &found.ca} {
		var err error
		*target, err = os.ReadFile(filepath.Join(directory, name))
		problems = append(problems, err)
	}
	return found, errors.Join(problems...)
}

// pair is the leaf, when the CA signed it, for one of the names and for a server, and it is valid
// now.
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
		return nil, errors.New("ca.crt has no certificate: the issuer has to tell its CA, so that the API server can be told")
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
		return nil, fmt.Errorf("tls.crt is not one of ca.crt: %w", err)
	}
	for _, name := range names {
		if pair.Leaf.VerifyHostname(name) == nil {
			return &pair, nil
		}
	}
	return nil, fmt.Errorf("tls.crt is not for %s, which the API server asks for", strings.Join(names, ", "))
}
