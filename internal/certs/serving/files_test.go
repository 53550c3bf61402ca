package serving

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"mtls.egress/webhook/test/pki"
)

const servedName = "webhook.mtls-egress.svc"

// secretData returns the data of a Secret that cert-manager writes.
func secretData(pair pki.Pair, ca []byte) map[string][]byte {
	return map[string][]byte{"tls.crt": pair.CertPEM, "tls.key": pair.KeyPEM, "ca.crt": ca}
}

// mount updates the files like the kubelet after a change of a Secret: it creates a new directory,
// and then changes the target of the link ..data.
func mount(t *testing.T, directory string, data map[string][]byte) {
	t.Helper()
	states, err := filepath.Glob(filepath.Join(directory, "..state*"))
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(directory, fmt.Sprintf("..state%d", len(states)))
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range data {
		if err := os.WriteFile(filepath.Join(state, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(directory, name)); err != nil &&
			!errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	link := filepath.Join(directory, "..link")
	if err := os.Symlink(filepath.Base(state), link); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link, filepath.Join(directory, "..data")); err != nil {
		t.Fatal(err)
	}
}

func newTestFiles(t *testing.T, directory string, changes *int) *files {
	t.Helper()
	f := newFiles(Options{Directory: directory, DNSNames: []string{servedName, "127.0.0.1"}, Logger: logr.Discard()},
		func() { *changes++ })
	f.now = moment
	return f
}

func TestWhatCanNotBeUsedLeavesTheLastOne(t *testing.T) {
	ca, other := ourCA(t, moment()), ourCA(t, moment().Add(-time.Hour))
	good := ca.Issue(t, pki.Server(servedName))
	next := other.Issue(t, pki.Server(servedName))
	intermediate := ca.Intermediate(t, "intermediate")
	below := intermediate.Issue(t, pki.Server(servedName))
	expired := pki.Server(servedName)
	expired.NotBefore, expired.NotAfter = moment().Add(-2*time.Hour), moment().Add(-time.Hour)
	ahead := pki.Server(servedName)
	ahead.NotBefore, ahead.NotAfter = moment().Add(time.Hour), moment().Add(2*time.Hour)

	for name, test := range map[string]struct {
		data    map[string][]byte
		problem string // empty: it is used
	}{
		"another leaf of another CA": {data: secretData(next, other.CertPEM)},
		"a leaf for an address": {data: secretData(ca.Issue(t, pki.Server("127.0.0.1")), ca.CertPEM),
			problem: "tls.crt is not issued for " + servedName + ", 127.0.0.1, which the API server calls"},
		"a leaf below an intermediate": {data: map[string][]byte{"tls.crt": append(below.CertPEM,
			intermediate.CertPEM...), "tls.key": below.KeyPEM, "ca.crt": ca.CertPEM}},
		"an intermediate that lacks": {data: secretData(below, ca.CertPEM), problem: "tls.crt is not signed " +
			"by ca.crt: x509: certificate signed by unknown authority"},
		"nothing": {data: map[string][]byte{"tls.crt": nil, "tls.key": nil, "ca.crt": nil},
			problem: "tls.crt and tls.key: tls: failed to find any PEM data in certificate input"},
		"the key of another": {data: map[string][]byte{"tls.crt": good.CertPEM, "tls.key": next.KeyPEM,
			"ca.crt": ca.CertPEM}, problem: "tls.crt and tls.key: tls: private key does not match public key"},
		"the CA of another": {data: secretData(good, other.CertPEM), problem: "tls.crt is not signed " +
			"by ca.crt: x509: certificate signed by unknown authority"},
		"no CA": {data: secretData(good, []byte("text")),
			problem: "ca.crt contains no certificate: use an issuer that writes its CA, which the API server must trust"},
		"a leaf for another Service": {data: secretData(ca.Issue(t, pki.Server("other.mtls-egress.svc")),
			ca.CertPEM), problem: "tls.crt is not issued for " + servedName + ", 127.0.0.1, which the API server calls"},
		"a leaf for a client": {data: secretData(ca.Issue(t, pki.Client("client")), ca.CertPEM),
			problem: "tls.crt is not signed by ca.crt: x509: certificate specifies an incompatible key usage"},
		"an expired leaf": {data: secretData(ca.Issue(t, expired), ca.CertPEM),
			problem: "tls.crt: serving certificate: expired on 2026-07-01T11:00:00Z"},
		"a leaf that isn't valid yet": {data: secretData(ca.Issue(t, ahead), ca.CertPEM),
			problem: "tls.crt: serving certificate: not valid before 2026-07-01T13:00:00Z: check the clock of this machine"},
		"a leaf with its CA behind it": {data: secretData(pki.Pair{CertPEM: append(append([]byte{}, good.CertPEM...),
			ca.CertPEM...), KeyPEM: good.KeyPEM}, ca.CertPEM)},
		"two CAs, one of them the leaf's": {data: secretData(good,
			append(append([]byte{}, other.CertPEM...), ca.CertPEM...))},
	} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			changes := 0
			f := newTestFiles(t, directory, &changes)
			if _, err := f.GetCertificate(nil); !errors.Is(err, errNotRead) {
				t.Errorf("before the first reading: error %v", err)
			}
			mount(t, directory, test.data)
			f.reload()
			_, err := f.GetCertificate(nil)
			if test.problem == "" && err != nil ||
				test.problem != "" && (err == nil || !strings.HasPrefix(err.Error(), test.problem)) {
				t.Errorf("at first: error %v, want %q", err, test.problem)
			}

			mount(t, directory, secretData(good, ca.CertPEM))
			f.reload()
			before, err := f.GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			changes = 0
			mount(t, directory, test.data)
			f.reload()
			after, err := f.GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			authorities := f.authorities()
			used := test.problem == ""
			if (after != before) != used ||
				(string(authorities) != string(ca.CertPEM)) != (used &&
					string(test.data["ca.crt"]) != string(ca.CertPEM)) {
				t.Errorf("the leaf is another: %t; want %t", after != before, used)
			}
			f.reload()
			if again, _ := f.GetCertificate(nil); again != after || (changes == 1) != used {
				t.Errorf("the same files are used again: %d changes", changes)
			}
		})
	}
}

func TestFilesThatAreNotThereAreAllNamed(t *testing.T) {
	changes := 0
	f := newTestFiles(t, t.TempDir(), &changes)
	f.reload()
	_, err := f.GetCertificate(nil)
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("the error doesn't name %s: %v", name, err)
		}
	}
}

func TestHolds(t *testing.T) {
	ca, other := ourCA(t, moment()), ourCA(t, moment())
	intermediate := ca.Intermediate(t, "intermediate")
	certificate := func(pair pki.Pair, above ...[]byte) *tls.Certificate {
		for _, one := range above {
			pair.CertPEM = append(pair.CertPEM, one...)
		}
		made, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
		if err != nil {
			t.Fatal(err)
		}
		return &made
	}
	direct := certificate(ca.Issue(t, pki.Server(servedName)))
	below := certificate(intermediate.Issue(t, pki.Template{Subject: pkix.Name{CommonName: "leaf"}}),
		intermediate.CertPEM)
	both := append(append([]byte{}, other.CertPEM...), ca.CertPEM...)
	for name, test := range map[string]struct {
		bundle      []byte
		certificate *tls.Certificate
		want        bool
	}{
		"nothing holds nothing":                      {nil, direct, false},
		"the CA":                                     {ca.CertPEM, direct, true},
		"the CA beside another":                      {both, direct, true},
		"another CA of the same name":                {other.CertPEM, direct, false},
		"the CA above an intermediate":               {ca.CertPEM, below, true},
		"the intermediate itself, as a trust anchor": {intermediate.CertPEM, below, true},
		"another CA, with an intermediate":           {other.CertPEM, below, false},
	} {
		if got := holds(test.bundle, test.certificate); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
