package cli

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/test/pki"
)

func TestCSRWritesKeyAndRequest(t *testing.T) {
	dir := t.TempDir()
	key, request := filepath.Join(dir, "external.system.com.key"), filepath.Join(dir, "external.system.com.csr")
	args := []string{"csr", "External.System.com", "--subject", "CN=orders,C=DE", "--dns", "a.example.com", "--dns",
		"b.example.com", "--uri", "spiffe://example.com/x", "--email", "t@example.com", "--out-dir", dir}
	stdout, stderr, code := executeCredential("", args...)
	want := key + " is the private key (ecdsa-p256). Keep it secret.\n" +
		request + " is the certificate signing request. Send it to the CA that signs for external.system.com.\n" +
		"After you receive the signed certificate, run: mtls-egress-webhook credential complete --key " + key +
		" --cert FILE --server-ca FILE --target external.system.com\n"
	if diff := cmp.Diff(want, stdout); diff != "" || stderr != "" || code != ExitFine {
		t.Fatalf("exit code %d, standard error %q, standard output (-want +got):\n%s", code, stderr, diff)
	}
	info, err := os.Stat(key)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the key has the mode %v, %v", info.Mode(), err)
	}
	before := read(t, key)
	block, _ := pem.Decode([]byte(read(t, request)))
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a.example.com", "b.example.com"}, parsed.DNSNames); diff != "" ||
		parsed.CheckSignature() != nil {
		t.Errorf("names (-want +got):\n%s", diff)
	}

	_, stderr, code = executeCredential("", args...)
	if wantErr := key + " already exists and is not overwritten: move it, or choose another name"; stderr != wantErr ||
		code != ExitUnable {
		t.Errorf("exit code %d, standard error %q, want %q", code, stderr, wantErr)
	}
	if after := read(t, key); after != before {
		t.Error("the key was overwritten")
	}
}

func TestCSRQuotesTheFileInTheNextCommand(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "my keys")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := executeCredential("", "csr", "external.system.com", "--subject", "CN=orders", "--out-dir", dir)
	if code != ExitFine || !strings.Contains(stdout, "--key '"+filepath.Join(dir, "external.system.com.key")+"' --cert") {
		t.Errorf("exit code %d, standard output %q, standard error %q", code, stdout, stderr)
	}
}

func TestCSRLeavesNoKeyWithoutARequest(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "external.system.com.csr"), "somebody's")
	stdout, stderr, code := executeCredential("", "csr", "external.system.com", "--subject", "CN=orders", "--out-dir",
		dir)
	if want := filepath.Join(
		dir,
		"external.system.com.csr",
	) + " already exists and is not overwritten: move it, or choose another name"; stderr != want || stdout != "" ||
		code != ExitUnable {
		t.Errorf("exit code %d, standard output %q, standard error %q, want %q", code, stdout, stderr, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "external.system.com.key")); !os.IsNotExist(err) {
		t.Errorf("a key was left behind: %v", err)
	}
}

func TestCSRTellsAllProblems(t *testing.T) {
	tests := map[string]struct {
		args []string
		code int
		want string
	}{
		"everything wrong": {
			[]string{"localhost", "--subject", "X=1", "--dns", "a b", "--key-type", "dsa"},
			2,
			"HOST localhost has only one label; a host has at least two labels of letters, digits and inner hyphens, " +
				"for example external.system.com\n" +
				`subject: "X" is not a known attribute: use CN, OU, O, L, ST, STREET, postalCode, C, DC, UID, ` +
				`serialNumber, organizationIdentifier, emailAddress, or a dotted OID` + "\n" +
				`"a b" is not a DNS name: it must have labels of letters, digits and inner hyphens, for ` +
				`example orders.example.com` + "\n" +
				`--key-type "dsa" is not a key type: use one of ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072, rsa-4096`,
		},
		"no host": {nil, 2, "mtls-egress-webhook credential csr needs an argument: the host of the credential"},
		"a folder that isn't there": {
			[]string{"a.example", "--subject", "CN=x", "--out-dir", "/nowhere"},
			2,
			"open /nowhere/a.example.key: no such file or directory",
		},
		"no names": {
			[]string{"a.example", "--subject", "CN=x", "--out-dir", t.TempDir()},
			0,
			"Warning: the request has no subject alternative name: partners that check names, such as Istio's " +
				"gateway with subjectAltNames, use these and not the CN; add a DNS name or URI, unless the " +
				"partner checks the subject\n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, stderr, code := executeCredential("", append([]string{"csr"}, test.args...)...)
			if diff := cmp.Diff(test.want, stderr); diff != "" || code != test.code {
				t.Errorf("exit code %d, want %d, standard error (-want +got):\n%s", code, test.code, diff)
			}
		})
	}
}

// The test continues where csr ended.
func TestCompleteJoinsWhatWasSigned(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if _, stderr, code := executeCredential("", "csr", "external.system.com", "--subject", "CN=orders", "--dns",
		"orders.example.com", "--out-dir", dir); code != ExitFine {
		t.Fatal(stderr)
	}
	block, _ := pem.Decode([]byte(read(t, path("external.system.com.csr"))))
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	// The test takes the public key from the private key. A real CA takes it from the request.
	keyBlock, _ := pem.Decode([]byte(read(t, path("external.system.com.key"))))
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key := parsed.(crypto.Signer)
	root := pki.NewCA(t, "Partner Root")
	issuing, server := root.Intermediate(t, "Partner Client CA"), pki.NewCA(t, "Server CA")
	issue := func(file string, change func(*pki.Template)) pki.Pair {
		template := pki.Client("orders")
		template.DNSNames, template.Key = request.DNSNames, key
		change(&template)
		signed := issuing.Issue(t, template)
		write(t, path(file), string(signed.CertPEM))
		return signed
	}
	good := issue("signed.pem", func(*pki.Template) {})
	issue("server.pem",
		func(template *pki.Template) { template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	issue("expired.pem", func(template *pki.Template) { template.NotAfter = pki.Epoch().AddDate(1, 0, 0) })
	write(t, path("other.pem"), string(issuing.Issue(t, pki.Client("somebody else")).CertPEM))
	write(t, path("root-first.pem"), string(root.CertPEM)+string(issuing.CertPEM))
	write(t, path("intermediate.cer"), string(issuing.Certificate.Raw))
	write(t, path("server-ca.pem"), string(server.CertPEM))

	base := []string{
		"complete",
		"--key",
		path("external.system.com.key"),
		"--target",
		"external.system.com",
		"--server-ca",
		path("server-ca.pem"),
	}
	encoded := func(values ...[]byte) string { return base64.StdEncoding.EncodeToString(slices.Concat(values...)) }
	secret := "apiVersion: v1\ndata:\n  cacert: " + encoded(
		server.CertPEM) + "\n  cert: " + encoded(good.CertPEM, issuing.CertPEM) + "\n  key: " +
		encoded(
			[]byte(read(t, path("external.system.com.key"))),
		) + "\nkind: Secret\nmetadata:\n  annotations:\n    mtls.egress/host: external.system.com\n  name: " +
		"external-system-mtls-data\ntype: Opaque\n"
	tests := map[string]struct {
		args   []string
		code   int
		stdout string
		want   string
	}{
		"the chain in another file, root first": {
			args:   []string{"--cert", path("signed.pem"), "--chain", path("root-first.pem")},
			stdout: secret,
		},
		"an intermediate in DER": {
			args:   []string{"--cert", path("signed.pem"), "--chain", path("intermediate.cer")},
			stdout: secret,
		},
		"the certificate behind others": {
			args:   []string{"--cert", path("root-first.pem"), "--cert", path("signed.pem")},
			stdout: secret,
		},
		"a certificate of another key": {
			args: []string{"--cert", path("other.pem")},
			code: 1,
			want: `no certificate matches the private key (ecdsa-p256): found subject "CN=somebody else", serial `,
		},
		"a certificate for a server": {
			args: []string{"--cert", path("server.pem")},
			code: 1,
			want: "its extended key usage is serverAuth; it must be clientAuth",
		},
		"an expired certificate": {
			args: []string{"--cert", path("expired.pem")},
			code: 1,
			want: `"cert" (client certificate) expired on 2021-01-01T00:00:00Z (subject "CN=orders"`,
		},
		"the request itself": {
			args: []string{"--cert", path("external.system.com.csr")},
			code: 2,
			want: `--cert: "` + path(
				"external.system.com.csr",
			) + `" (client certificate) holds no certificate but a certificate request: store the certificate ` +
				`that the CA issued for it`,
		},
		"all that can't be read": {
			args: []string{"--cert", path("none.pem"), "--chain", path("external.system.com.key")},
			code: 2,
			want: "--cert: open " + path("none.pem") + ": no such file or directory\n--chain: \"" + path(
				"external.system.com.key",
			) + `" (client certificate) holds no certificate but a private key: were two parts swapped?`,
		},
		"nothing given": {
			args: []string{"--key", "", "--server-ca", ""},
			code: 2,
			want: "--key is missing: set it to the private key file from credential csr\n--cert is missing: set it " +
				"to the file with the signed certificate\n--server-ca is missing: the chain of the certificate leads " +
				"to the issuer of the client certificate",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := executeCredential("", append(slices.Clone(base), test.args...)...)
			if diff := cmp.Diff(test.stdout, stdout); diff != "" || code != test.code {
				t.Errorf("exit code %d, want %d, standard output (-want +got):\n%s", code, test.code, diff)
			}
			if !strings.Contains(stderr, test.want) || test.want == "" && stderr != "" {
				t.Errorf("standard error %q, want %q", stderr, test.want)
			}
		})
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
