package mesh

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/apiserver"
	"mtls.egress/webhook/test/pki"
	"mtls.egress/webhook/test/scene"
)

// The extensions of certificates that openssl signs, as it reads them from a file.
const (
	authorityExtensions = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
	clientExtensions    = "keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n" +
		"subjectAltName=DNS:%s.client.example.com\n"
)

// keyArguments are what openssl makes a new key of, by the type as the credential commands call it.
func keyArguments() map[string][]string {
	return map[string][]string{
		"ecdsa-p256": {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"},
		"ecdsa-p384": {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"},
		"rsa-2048":   {"-newkey", "rsa:2048"},
		"rsa-4096":   {"-newkey", "rsa:4096"},
	}
}

// issuers are the CAs of the partner, run with the openssl command: those of its clients, of which
// its server trusts the root alone, and the one of its server. Each has a file NAME.pem, and those
// of clients a NAME.key.
type issuers struct {
	*testing.T
	dir string
}

// The names of the issuers.
const (
	rootIssuer   = "root"
	outerIssuer  = "outer" // signed by the root
	innerIssuer  = "inner" // signed by outer
	serverIssuer = "server-ca"
)

// newIssuers makes the intermediates, of different types of keys.
func newIssuers(t *testing.T, s *scene.Scene) issuers {
	t.Helper()
	i := issuers{t, t.TempDir()}
	i.write(rootIssuer+".pem", s.ClientCA.CertPEM)
	i.write(rootIssuer+".key", s.ClientCA.KeyPEM)
	i.write(serverIssuer+".pem", s.ServerCA.CertPEM)
	i.sign(outerIssuer, i.request(outerIssuer, "rsa-2048"), rootIssuer, authorityExtensions)
	i.sign(innerIssuer, i.request(innerIssuer, "ecdsa-p384"), outerIssuer, authorityExtensions)
	return i
}

func (i issuers) path(name string) string { return filepath.Join(i.dir, name) }

func (i issuers) write(name string, content []byte) string {
	i.Helper()
	must(i.T, os.WriteFile(i.path(name), content, 0o600))
	return i.path(name)
}

func (i issuers) openssl(args ...string) {
	i.Helper()
	_, _, err := apiserver.Output(exec.CommandContext(i.Context(), "openssl", args...))
	must(i.T, err)
}

// request makes NAME.key and a request, whose file it returns.
func (i issuers) request(name, keyType string) string {
	i.Helper()
	i.openssl(
		append(append([]string{"req"}, keyArguments()[keyType]...), "-subj", "/O=Example/CN="+name, "-nodes",
			"-keyout", i.path(name+".key"), "-out", i.path(name+".csr"))...)
	return i.path(name + ".csr")
}

// sign makes NAME.pem of a request, with the extensions, or with those of the request when there
// are none.
func (i issuers) sign(name, request, issuer, extensions string) {
	i.Helper()
	args := []string{
		"x509",
		"-req",
		"-in",
		request,
		"-CA",
		i.path(issuer + ".pem"),
		"-CAkey",
		i.path(issuer + ".key"),
		"-CAcreateserial",
		"-days",
		"365",
		"-out",
		i.path(name + ".pem"),
	}
	if extensions == "" {
		args = append(args, "-copy_extensions", "copyall")
	} else {
		args = append(args, "-extfile", i.write(name+".ext", []byte(extensions)))
	}
	i.openssl(args...)
}

// received is one credential on its way from the partner to a Secret.
type received struct {
	// way is how it becomes a Secret: importing or completing.
	way           string
	host, keyType string
	// issuers are those of the client certificate, the one that signs it first, the root last.
	issuers []string
}

// The ways.
const (
	importing  = "pkcs12"
	completing = "csr"
)

// name is what the files of the credential are called.
func (r received) name() string { return strings.TrimSuffix(r.host, ".system.com") }

// chain is a file with the issuers, as partners send it: with the root, and in the order in which
// they were made.
func (r received) chain(i issuers) string {
	i.Helper()
	var chain []byte
	for _, issuer := range r.issuers {
		content, err := os.ReadFile(i.path(issuer + ".pem"))
		must(i.T, err)
		chain = append(content, chain...)
	}
	return i.write(r.name()+"-chain.pem", chain)
}

// imported is the Secret that credential import makes of a PKCS#12 file.
func (r received) imported(i issuers) (manifest string) {
	i.Helper()
	password := i.write("password.txt", []byte("correct horse\n"))
	i.sign(r.name(), i.request(r.name(), r.keyType), r.issuers[0], fmt.Sprintf(clientExtensions, r.name()))
	i.openssl("pkcs12", "-export", "-inkey", i.path(r.name()+".key"), "-in", i.path(r.name()+".pem"),
		"-certfile", r.chain(i), "-passout", "file:"+password, "-out", i.path(r.name()+".p12"))
	return credentialCommand(i.T, "import", i.path(r.name()+".p12"), "--password-file", password,
		"--server-ca", i.path(serverIssuer+".pem"), "--target", r.host)
}

// completed is the Secret that credential complete makes of the answer to the request of credential
// csr.
func (r received) completed(i issuers) (manifest string) {
	i.Helper()
	credentialCommand(i.T, "csr", r.host, "--subject", "CN="+r.name()+",O=Example",
		"--dns", r.name()+".client.example.com", "--key-type", r.keyType, "--out-dir", i.dir)
	i.sign(r.name(), i.path(r.host+".csr"), r.issuers[0], "")
	return credentialCommand(i.T, "complete", "--key", i.path(r.host+".key"), "--cert", i.path(r.name()+".pem"),
		"--chain", r.chain(i), "--server-ca", i.path(serverIssuer+".pem"), "--target", r.host, "--layout", "tls")
}

// certificate is the client certificate as the partner's CA signed it.
func (r received) certificate(i issuers) scene.Credential {
	i.Helper()
	content, err := os.ReadFile(i.path(r.name() + ".pem"))
	must(i.T, err)
	block, _ := pem.Decode(content)
	certificate, err := x509.ParseCertificate(block.Bytes)
	must(i.T, err)
	return scene.Credential{Pair: pki.Pair{Certificate: certificate, CertPEM: content}}
}

// TestCredentialsOfEveryKindReachThePartner makes the Secrets of sixteen targets with the
// credential commands, of what the openssl command made and signed. One Pod has them all.
func TestCredentialsOfEveryKindReachThePartner(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("openssl"); err != nil {
		skip(t, "needs the openssl command to be the partner's CA")
	}
	s := play(t)
	ns, i := namespace(t, s), newIssuers(t, s)
	path := "/credentials/" + ns
	app := scene.App{Namespace: ns, Name: "shop", Args: []string{"--timeout", "5s", "--pause", "500ms"}}
	ways := map[string]func(received, issuers) string{importing: received.imported, completing: received.completed}
	var all []received
	var hosts []string
	var want []sight
	for way, manifest := range ways {
		for keyType := range keyArguments() {
			for _, line := range [][]string{{outerIssuer, rootIssuer}, {innerIssuer, outerIssuer, rootIssuer}} {
				r := received{
					way:     way,
					host:    fmt.Sprintf("%s-%s-%s.system.com", way, keyType, line[0]),
					keyType: keyType,
					issuers: line,
				}
				_, _, err := s.Kubectl(t.Context(), "--namespace", ns, "create",
					"--filename", i.write(r.name()+".yaml", []byte(manifest(r, i))))
				must(t, err)
				all, hosts = append(all, r), append(hosts, r.host)
				app.Loops = append(app.Loops, "http://"+r.host+path)
				want = append(want, mutualTLS(r.host, r.certificate(i), 443, path))
			}
		}
	}
	const callsOfEach = 3
	app.Annotations = scene.Target(hosts...)
	must(t, s.Deploy(t.Context(), app))
	pod := calling(t, s, ns, app.Name)
	for _, loop := range app.Loops {
		answered(t, s, pod, caller.Call{URL: loop, Count: callsOfEach})
	}
	loops, err := s.Caller(pod).Loops(t.Context())
	must(t, err)
	connections := fromPod(t, s, pod)
	if diff := cmp.Diff(sorted(want), sights(connections)); diff != "" {
		t.Errorf("what the partner saw (-want +got):\n%s", diff)
	}
	rows := map[string]*figures{}
	for way, what := range map[string]string{
		importing:  "imported from PKCS#12 files",
		completing: "completed of requests that the partner's CA signed",
	} {
		rows[way] = &figures{
			Promise: "Every form of workload",
			Fault:   "credentials " + what + "; ECDSA and RSA, one and two intermediates",
		}
	}
	for _, r := range all {
		onlyThis(t, r, connections, r.certificate(i).Certificate)
		loop := loops["http://"+r.host+path]
		onlyMutualTLS(t, r.host, loop, r.certificate(i).Serial())
		rows[r.way].Requests += loop.Calls + callsOfEach
		rows[r.way].Failed += loop.Calls - loop.ByOutcome["200"]
	}
	t.Run("the partner asks for the intermediates", func(t *testing.T) { intermediatesAreNeeded(t, s, pod, all[0]) })
	for _, row := range rows {
		neverPlain(t, summaryOf(fromPod(t, s, pod)), *row)
	}
}

// onlyThis asserts that what came for a host came with the certificate, to the last byte, and with
// the names that were asked for.
func onlyThis(t *testing.T, r received, connections []partner.Connection, certificate *x509.Certificate) {
	t.Helper()
	sum := sha256.Sum256(certificate.Raw)
	want := &partner.ClientCertificate{
		Subject:      "CN=" + r.name() + ",O=Example",
		Issuer:       "CN=" + r.issuers[0] + ",O=Example",
		DNSNames:     []string{r.name() + ".client.example.com"},
		SerialNumber: certificate.SerialNumber.Text(16),
		SHA256:       hex.EncodeToString(sum[:]),
	}
	for _, connection := range connections {
		if connection.SNI != r.host {
			continue
		}
		if diff := cmp.Diff(want, connection.Client); diff != "" {
			t.Errorf("%s: the client certificate (-want +got):\n%s", r.host, diff)
		}
	}
}

// intermediatesAreNeeded shows that the partner trusts the root alone: the app itself is let in
// with what the Secret holds, and not with its first certificate.
func intermediatesAreNeeded(t *testing.T, s *scene.Scene, pod *corev1.Pod, r received) {
	secret, err := s.Client.CoreV1().
		Secrets(pod.Namespace).
		Get(t.Context(), egress.DefaultSecretName(r.host), metav1.GetOptions{})
	must(t, err)
	part := func(names ...string) string {
		for _, name := range names {
			if content, ok := secret.Data[name]; ok {
				return string(content)
			}
		}
		t.Fatalf("the Secret of %s has none of %v", r.host, names)
		return ""
	}
	chain := part("cert", "tls.crt")
	call := caller.Call{
		URL:           "https://" + r.host + "/credentials/itself",
		CAPEM:         part("cacert", "ca.crt"),
		ClientCertPEM: chain,
		ClientKeyPEM:  part("key", "tls.key"),
	}
	_, err = expect(t.Context(), s.Caller(pod), call, "200")
	must(t, err)
	leaf, rest := pem.Decode([]byte(chain))
	if !bytes.Contains(rest, []byte("BEGIN CERTIFICATE")) {
		t.Fatal("the Secret has no intermediate")
	}
	call.ClientCertPEM = string(pem.EncodeToMemory(leaf))
	refusedByAlert(t, s, pod, call, "unknown certificate authority")
}
