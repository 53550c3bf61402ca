package partner

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/test/pki"
)

func subjectDER(sequence pkix.RDNSequence) ([]byte, error) { return asn1.Marshal(sequence) }

// served is the first DNS name of the certificate that the partner shows to a caller that asks for
// the server name.
func (p *running) served(t *testing.T, name string) string {
	t.Helper()
	dialed := tls.Client(dial(t, p.tlsAddress()), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	defer func() { _ = dialed.Close() }()
	if err := dialed.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return dialed.ConnectionState().PeerCertificates[0].DNSNames[0]
}

func TestTheCertificateIsChosenByServerName(t *testing.T) {
	p := start(t, ClientAuthNone)
	p.putPair(t, "wildcard", pki.Server("*.partner.example.com"))
	tests := map[string]struct{ name, want string }{
		"a name of its own":                 {"external.system.com", "external.system.com"},
		"a name that a wildcard fits":       {"api.partner.example.com", "*.partner.example.com"},
		"a name below what it fits":         {"v1.api.partner.example.com", "default.example.com"},
		"a name that nobody has":            {"unknown.example.com", "default.example.com"},
		"no name, as with an IP for a host": {"", "default.example.com"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := p.served(t, test.name); got != test.want {
				t.Errorf("the certificate is that of %s; it must be that of %s", got, test.want)
			}
		})
	}
}

// secretVolume writes the files as the kubelet does and turns the link round.
func secretVolume(t *testing.T, folder, version string, files map[string][]byte) {
	t.Helper()
	target := filepath.Join(folder, ".."+version)
	err := os.Mkdir(target, 0o700)
	for name, content := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join(target, name), content, 0o600))
		if _, missing := os.Lstat(filepath.Join(folder, name)); missing != nil {
			err = errors.Join(err, os.Symlink(filepath.Join("..data", name), filepath.Join(folder, name)))
		}
	}
	next := filepath.Join(folder, "..data_tmp")
	err = errors.Join(err, os.Symlink(".."+version, next), os.Rename(next, filepath.Join(folder, "..data")))
	if err != nil {
		t.Fatal(err)
	}
}

func TestAChangedSecretVolumeIsInUseAtOnce(t *testing.T) {
	ca := pki.NewCA(t, "server CA")
	folder := t.TempDir()
	var log strings.Builder
	put := func(version string, certificate, key pki.Pair) {
		secretVolume(t, folder, version, map[string][]byte{
			"default.crt": certificate.CertPEM, "default.key": key.KeyPEM, "client-ca.crt": ca.CertPEM,
		})
	}
	first := ca.Issue(t, pki.Server("one.example.com"))
	second := ca.Issue(t, pki.Server("two.example.com"))
	third := ca.Issue(t, pki.Server("three.example.com"))
	put("1", first, first)
	rings, err := newKeyrings(folder, &log)
	if err != nil {
		t.Fatal(err)
	}
	current := func() string { return rings.current().fallback.Leaf.DNSNames[0] }

	got := []string{current()}
	put("2", second, second)
	got = append(got, current())
	put("3", third, second) // the key of another certificate
	got = append(got, current(), current())
	put("4", third, third)
	got = append(got, current())

	want := []string{"one.example.com", "two.example.com", "two.example.com", "two.example.com", "three.example.com"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
	wantLog := fmt.Sprintf("the certificates have changed but can't be read, the old ones stay: "+
		"read %s/default.crt and .key: tls: private key does not match public key\n", folder)
	if diff := cmp.Diff(wantLog, log.String()); diff != "" {
		t.Error("log (-want +got):\n" + diff)
	}
}

func TestAnUnchangedFolderIsNotReadAgain(t *testing.T) {
	p := start(t, ClientAuthNone)
	before := p.keyrings.current()
	if p.keyrings.current() != before {
		t.Error("it was read again")
	}
}
