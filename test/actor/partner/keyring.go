package partner

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// The names of files in the folder of certificates that mean something.
const (
	defaultPair = "default"
	clientCA    = "client-ca.crt"
)

// keyring is what the folder of certificates held at one time.
type keyring struct {
	// fallback is for callers whose server name none of the named fits.
	fallback tls.Certificate
	named    []tls.Certificate
	// clientCAs is nil when the folder has none.
	clientCAs *x509.CertPool
}

// certificateFor chooses the first certificate, by file name, that is valid for the server name.
func (k *keyring) certificateFor(serverName string) tls.Certificate {
	for _, pair := range k.named {
		if serverName != "" && pair.Leaf.VerifyHostname(serverName) == nil {
			return pair
		}
	}
	return k.fallback
}

// readKeyring reads the folder; all problems are reported at once.
func readKeyring(folder string) (*keyring, error) {
	certificates, err := filepath.Glob(filepath.Join(folder, "*.crt"))
	if err != nil {
		return nil, fmt.Errorf("list the certificates: %w", err)
	}
	ring := &keyring{}
	var problems []error
	hasDefault := false
	for _, certificate := range certificates {
		base := strings.TrimSuffix(certificate, ".crt")
		if filepath.Base(certificate) == clientCA {
			ring.clientCAs, err = readPool(certificate)
			problems = append(problems, err)
			continue
		}
		pair, err := tls.LoadX509KeyPair(certificate, base+".key")
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("read %s.crt and .key: %w", base, err))
		case filepath.Base(base) == defaultPair:
			ring.fallback, hasDefault = pair, true
		default:
			ring.named = append(ring.named, pair)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if !hasDefault {
		return nil, fmt.Errorf("%s holds no %s.crt: there must be a certificate for callers that no other fits",
			folder, defaultPair)
	}
	return ring, nil
}

func readPool(file string) (*x509.CertPool, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read who may sign clients: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("read who may sign clients: %s holds no certificate in PEM", file)
	}
	return pool, nil
}

// keyrings reads a folder again when a file in it has changed. It is safe for concurrent use.
type keyrings struct {
	folder string
	log    io.Writer

	mu    sync.Mutex
	state string
	ring  *keyring
}

func newKeyrings(folder string, log io.Writer) (*keyrings, error) {
	state := stateOf(folder)
	ring, err := readKeyring(folder)
	if err != nil {
		return nil, err
	}
	return &keyrings{folder: folder, log: log, state: state, ring: ring}, nil
}

// current is the last keyring that could be read.
func (k *keyrings) current() *keyring {
	k.mu.Lock()
	defer k.mu.Unlock()
	state := stateOf(k.folder)
	if state == k.state {
		return k.ring
	}
	k.state = state
	ring, err := readKeyring(k.folder)
	if err != nil {
		_, _ = fmt.Fprintf(k.log, "the certificates have changed but can't be read, the old ones stay: %v\n", err)
		return k.ring
	}
	k.ring = ring
	return ring
}

// stateOf is the name, size and time of every certificate and key. It follows links: a Secret
// volume is changed by turning one round
// (https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/volume/util/atomic_writer.go).
func stateOf(folder string) string {
	var state strings.Builder
	for _, pattern := range []string{"*.crt", "*.key"} {
		files, _ := filepath.Glob(filepath.Join(folder, pattern)) // the pattern is well-formed
		for _, file := range files {
			info, err := os.Stat(file)
			if err != nil {
				continue
			}
			fmt.Fprintf(&state, "%s %d %d\n", file, info.Size(), info.ModTime().UnixNano())
		}
	}
	return state.String()
}
