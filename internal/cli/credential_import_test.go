package cli

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"mtls.egress/webhook/test/pki"
)

// keyStore returns a directory with what a partner sends: keystore.p12, its password, and the CA of
// the server.
type keyStore struct {
	dir     string
	client  pki.Pair
	root    *pki.CA
	issuing *pki.CA
	server  *pki.CA
}

const keyStorePassword = "correct horse"

// importing returns the arguments that import the store for a host, followed by more.
func (s keyStore) importing(host string, more ...string) []string {
	return append([]string{
		"import", s.path("keystore.p12"), "--password-file", s.path("password.txt"), "--target", host,
		"--server-ca", s.path("server-ca.pem"),
	}, more...)
}

func newKeyStore(t *testing.T) keyStore {
	t.Helper()
	t.Setenv("KUBECONFIG", os.DevNull)
	root := pki.NewCA(t, "Partner Root")
	store := keyStore{
		dir:     t.TempDir(),
		root:    root,
		issuing: root.Intermediate(t, "Partner Client CA"),
		server:  pki.NewCA(t, "Server CA"),
	}
	template := pki.Client("orders")
	template.DNSNames = []string{"orders.example.com"}
	store.client = store.issuing.Issue(t, template)
	file, err := pkcs12.Modern2023.Encode(store.client.Key, store.client.Certificate,
		[]*x509.Certificate{root.Certificate, store.issuing.Certificate}, keyStorePassword)
	if err != nil {
		t.Fatal(err)
	}
	write(t, store.path("keystore.p12"), string(file))
	write(t, store.path("password.txt"), keyStorePassword+"\n")
	write(t, store.path("server-ca.pem"), "Bag Attributes\n"+string(store.server.CertPEM))
	write(t, store.path("cockpit.txt"), "Type=HTTP\nURL=https\\://api.partner.example\nAuthentication="+
		"ClientCertificateAuthentication\nKeyStoreLocation=k.p12\nKeyStorePassword="+keyStorePassword+"\n")
	write(t, store.path("destination.json"), fmt.Sprintf(
		`{"destinationConfiguration":{"Name":"partner","URL":"https://api.partner.example:8443/orders",`+
			`"Authentication":"ClientCertificateAuthentication","KeyStoreLocation":"k.p12","KeyStorePassword":%q,`+
			`"TrustStoreLocation":"t.jks","TrustAll":"true"},"certificates":[{"Name":"k.p12","Content":%q}]}`,
		keyStorePassword, base64.StdEncoding.EncodeToString(file),
	))
	return store
}

func (s keyStore) path(name string) string { return filepath.Join(s.dir, name) }

func (s keyStore) chain() string {
	return base64.StdEncoding.EncodeToString(slices.Concat(s.client.CertPEM, s.issuing.CertPEM))
}

func (s keyStore) key() string { return base64.StdEncoding.EncodeToString(s.client.KeyPEM) }

func (s keyStore) ca() string { return base64.StdEncoding.EncodeToString(s.server.CertPEM) }

// executeCredential runs a credential command. stderr includes the error, which main prints there,
// and lacks the next steps, which TestImportEndsWithTheNextSteps tests.
func executeCredential(stdin string, args ...string) (stdout, stderr string, code int) {
	stdout, stderr, err := executeWith(stdin, append([]string{"credential"}, args...)...)
	stderr, _, _ = strings.Cut(stderr, "Next steps:\n")
	if err != nil {
		stderr += withoutUsage(err.Error())
	}
	return stdout, stderr, ExitCode(err)
}

func TestImportPrintsManifests(t *testing.T) {
	store := newKeyStore(t)
	file, err := os.ReadFile(store.path("keystore.p12"))
	if err != nil {
		t.Fatal(err)
	}
	plain := []string{store.path("keystore.p12"), "--password-file", store.path("password.txt")}
	with := func(base []string, more ...string) []string { return append(slices.Clone(base), more...) }
	destination := []string{"--btp-destination", store.path("destination.json")}

	tests := map[string]struct {
		stdin  string
		args   []string
		want   string
		stderr string
	}{
		"a Secret under the name that is looked for": {
			args: with(plain, "--target", "External.System.com.", "--server-ca", store.path("server-ca.pem")),
			want: "apiVersion: v1\ndata:\n  cacert: " + store.ca() + "\n  cert: " + store.chain() + "\n  key: " +
				store.key() +
				"\nkind: Secret\nmetadata:\n  annotations:\n    mtls.egress/host: external.system.com\n  name: " +
				"external-system-mtls-data\ntype: Opaque\n",
		},
		"a Secret of type tls in a namespace, the password from standard input": {
			stdin: keyStorePassword + "\r\n",
			args: []string{
				store.path("keystore.p12"),
				"--password-file",
				"-",
				"--target",
				"external.system.com",
				"--server-ca",
				store.path("server-ca.pem"),
				"--layout",
				"tls",
				"-n",
				"project",
				"--secret-name",
				"partner",
			},
			want: "apiVersion: v1\ndata:\n  ca.crt: " + store.ca() + "\n  tls.crt: " + store.chain() + "\n  tls.key: " +
				store.key() +
				"\nkind: Secret\nmetadata:\n  annotations:\n    mtls.egress/host: external.system.com\n  name: " +
				"partner\n  namespace: project\ntype: kubernetes.io/tls\n",
		},
		"the key store from standard input, and a server with a public CA": {
			stdin: string(file),
			args: []string{
				"-",
				"--password-file",
				store.path("password.txt"),
				"--target",
				"external.system.com",
				"--server-ca",
				"system",
				"--secret-name",
				"partner",
			},
			want: "apiVersion: mtls.egress/v1alpha1\nkind: EgressTarget\nmetadata:\n  name: " +
				"external.system.com\nspec:\n  credential:\n    secretName: partner\n  serverCA:\n    system: true\n" +
				"---\napiVersion: v1\ndata:\n  cert: " + store.chain() + "\n  key: " + store.key() +
				"\nkind: Secret\nmetadata:\n  annotations:\n    mtls.egress/host: external.system.com\n  " +
				"name: partner\ntype: Opaque\n",
		},
		"a destination": {
			args: with(destination, "--server-ca", store.path("server-ca.pem"), "-n", "project"),
			want: "apiVersion: mtls.egress/v1alpha1\nkind: EgressTarget\nmetadata:\n  name: api.partner.example\n  " +
				"namespace: project\nspec:\n  port: 8443\n" +
				"---\napiVersion: v1\ndata:\n  cacert: " + store.ca() + "\n  cert: " + store.chain() + "\n  key: " +
				store.key() +
				"\nkind: Secret\nmetadata:\n  annotations:\n    mtls.egress/host: api.partner.example\n  name: " +
				"api-partner-mtls-data\n  namespace: project\ntype: Opaque\n",
			stderr: "Warning: the destination has the path /orders, which an EgressTarget can't hold: the app calls " +
				"http://api.partner.example/orders\n" +
				"Warning: the destination trusts every server (TrustAll); the sidecar always " +
				"validates the server certificate\n",
		},
		"JSON is one list": {
			args: with(plain, "--target", "external.system.com", "--server-ca", "system", "-o", "json", "--secret-name",
				"s"),
			want: `{
    "apiVersion": "v1",
    "items": [
        {
            "apiVersion": "mtls.egress/v1alpha1",
            "kind": "EgressTarget",
            "metadata": {
                "name": "external.system.com"
            },
            "spec": {
                "credential": {
                    "secretName": "s"
                },
                "serverCA": {
                    "system": true
                }
            }
        },
        {
            "apiVersion": "v1",
            "data": {
                "cert": "` + store.chain() + `",
                "key": "` + store.key() + `"
            },
            "kind": "Secret",
            "metadata": {
                "annotations": {
                    "mtls.egress/host": "external.system.com"
                },
                "name": "s"
            },
            "type": "Opaque"
        }
    ],
    "kind": "List"
}
`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := executeCredential(test.stdin, append([]string{"import"}, test.args...)...)
			if diff := cmp.Diff(test.want, stdout); diff != "" {
				t.Errorf("standard output (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.stderr, stderr); diff != "" || code != ExitFine {
				t.Errorf("exit code %d, standard error (-want +got):\n%s", code, diff)
			}
		})
	}
}

func TestImportAsTextHasNoKey(t *testing.T) {
	store := newKeyStore(t)
	stdout, stderr, code := executeCredential("", store.importing("external.system.com", "-o", "text")...)
	if code != ExitFine || stderr != "" {
		t.Fatalf("exit code %d, standard error %q", code, stderr)
	}
	for _, want := range []string{"Target:         external.system.com:443\n",
		"Secret:         external-system-mtls-data (cert,key,cacert)\n", "Subject:        CN=orders\n",
		"Issuer:         CN=Partner Client " +
			"CA\n", "DNS names:      orders.example.com\n", "Chain:          2 certificates\n"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("missing %q in\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "PRIVATE") || strings.Contains(stdout, store.key()[60:100]) {
		t.Errorf("the key is in\n%s", stdout)
	}
}

func TestImportWritesAFileForTheUserAlone(t *testing.T) {
	store := newKeyStore(t)
	args := store.importing("external.system.com", "--output-file", store.path("secret.yaml"))
	stdout, stderr, code := executeCredential("", args...)
	if code != ExitFine || stdout != "" || stderr != "" {
		t.Fatalf("exit code %d, standard output %q, standard error %q", code, stdout, stderr)
	}
	info, err := os.Stat(store.path("secret.yaml"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v: %v", info.Mode(), err)
	}
	_, stderr, code = executeCredential("", args...)
	if want := "--output-file: " + store.path("secret.yaml") +
		" already exists and is not overwritten: move it, or choose another name"; code != ExitUnable || stderr != want {
		t.Errorf("exit code %d, standard error %q, want %q", code, stderr, want)
	}
}

func TestImportWarnsAndRefuses(t *testing.T) {
	store := newKeyStore(t)
	expired := pki.Client("orders")
	expired.NotAfter = pki.Epoch().AddDate(1, 0, 0)
	old := store.issuing.Issue(t, expired)
	file, err := pkcs12.LegacyRC2.Encode(old.Key, old.Certificate, nil, keyStorePassword)
	if err != nil {
		t.Fatal(err)
	}
	write(t, store.path("expired.p12"), string(file))
	write(t, store.path("truncated.p12"), string(file[:100]))
	write(t, store.path("wrong.txt"), "wrong")
	write(t, store.path("issuer.pem"), string(store.issuing.CertPEM))
	password := []string{"--password-file", store.path("password.txt")}
	target := []string{"--target", "external.system.com"}
	ca := []string{"--server-ca", store.path("server-ca.pem")}
	const noCA = "--server-ca is missing: the chain in the key store leads to the issuer of the client certificate, " +
		"not of the server certificate. " +
		"Set --server-ca FILE to the CA that the partner names for its server certificate, or --server-ca " +
		"system if a public CA signs it; credential server-ca HOST shows which CA that is"

	tests := map[string]struct {
		args []string
		code int
		want string
	}{
		"the CA of the client for the server": {
			slices.Concat([]string{store.path("keystore.p12"), "--server-ca", store.path("issuer.pem"), "-o", "text"},
				password, target),
			0,
			`Warning: the CA of the server is the issuer of the client certificate (subject "CN=Partner Client CA"`,
		},
		"an expired certificate": {
			slices.Concat([]string{store.path("expired.p12")}, password, target, ca),
			1,
			`"cert" (client certificate) expired on 2021-01-01T00:00:00Z (subject "CN=orders"`,
		},
		"a wrong password": {
			slices.Concat([]string{store.path("keystore.p12"), "--password-file", store.path("wrong.txt")}, target, ca),
			1,
			store.path("keystore.p12") + ": the password is wrong",
		},
		"no password": {
			slices.Concat([]string{store.path("keystore.p12")}, target, ca),
			2,
			store.path("keystore.p12") + ": the file has a password, and none was given",
		},
		"a truncated file": {
			slices.Concat([]string{store.path("truncated.p12")}, password, target, ca),
			2,
			store.path("truncated.p12") + ": the file is truncated: it has 100 of the ",
		},
		"no CA of the server": {slices.Concat([]string{store.path("keystore.p12")}, password, target), 2, noCA},
		"everything at once": {
			[]string{"--layout", "x", "--secret-name", "A", "-n", "B"},
			2,
			"no input: pass the file that the partner sent, or --btp-destination FILE\n--target is missing: set it to the " +
				"host of the credential, for example external.system.com\n" + noCA + "\n--layout x: the layout is cert (cert, " +
				"key, cacert) or tls (tls.crt, tls.key, ca.crt)\n--secret-name A: a lowercase RFC 1123 subdomain",
		},
		"a host that is a URL": {
			slices.Concat([]string{store.path("keystore.p12"), "--target", "https://a.example/x"}, ca),
			2,
			`--target https://a.example/x has a scheme, "https"; write the host alone, as in "a.example"`,
		},
		"two sources": {
			slices.Concat([]string{"-", "--btp-destination", "-"}, ca),
			2,
			"the key store and the destination can't both come from standard input",
		},
		"a destination and a host": {
			slices.Concat([]string{"--btp-destination", "d.json"}, target, ca),
			2,
			"--target and --btp-destination are mutually exclusive: the host comes from the destination's URL",
		},
		"standard input twice": {
			slices.Concat([]string{"-", "--password-file", "-"}, target, ca),
			2,
			"the file and the password can't both come from standard input",
		},
		"a file that isn't there": {
			slices.Concat([]string{store.path("none.p12")}, password, target, ca),
			2,
			"open " + store.path("none.p12") + ": no such file or directory",
		},
		"a password file of others": {
			slices.Concat([]string{store.path("keystore.p12"), "--password-file", "/dev/zero"}, target, ca),
			2,
			"reading the password from /dev/zero: it has more than 4096 bytes; check that it is the right file",
		},
		"a CA that is a key store": {
			slices.Concat([]string{store.path("keystore.p12"), "--server-ca", store.path("keystore.p12"),
				"--server-ca-password-file", store.path("password.txt")}, password, target),
			2,
			`--server-ca: "` + store.path(
				"keystore.p12") + `" (CA of the server) holds a private key, so it is the key store of a client`,
		},
		"a CA that is a trust store with another password": {
			slices.Concat([]string{store.path("keystore.p12"), "--server-ca", store.path("keystore.p12"),
				"--server-ca-password-file", store.path("wrong.txt")}, password, target),
			1,
			`--server-ca: "` + store.path("keystore.p12") + `" (CA of the server): the password is wrong`,
		},
		"a destination with a public CA": {
			[]string{"--btp-destination", store.path("destination.json"), "--server-ca", "system", "-o", "text"}, 0,
			"Warning: the destination has a trust store, t.jks, so the server's CA is probably not public",
		},
		"a destination whose password is given too": {
			[]string{
				"--btp-destination",
				store.path("destination.json"),
				"--server-ca",
				"system",
				"--password-file",
				store.path("wrong.txt"),
			},
			1,
			store.path("destination.json") + ", its key store: the password is wrong",
		},
		"the text of the cockpit": {
			[]string{store.path("keystore.p12"), "--btp-destination", store.path("cockpit.txt"), "--server-ca",
				"system", "-o",
				"text"},
			0,
			"",
		},
		"the text of the cockpit, without the key store": {
			[]string{"--btp-destination", store.path("cockpit.txt"), "--server-ca", "system"},
			2,
			store.path("cockpit.txt") + ` is the text of the cockpit, which doesn't contain the key store "k.p12": download ` +
				"it there (Certificates), and pass it too, as in credential import FILE.p12 --btp-destination FILE",
		},
		"a destination with its key store, and another": {
			[]string{store.path("keystore.p12"), "--btp-destination", store.path("destination.json"),
				"--server-ca", "system"},
			2,
			store.path("destination.json") + " contains its key store: omit " + store.path("keystore.p12"),
		},
		"something else than a destination": {
			[]string{"--btp-destination", store.path("password.txt"), "--server-ca", "system"},
			2,
			store.path("password.txt") + ": the file is neither the JSON of a destination",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := executeCredential("", append([]string{"import"}, test.args...)...)
			if code != test.code || !strings.Contains(stderr, test.want) {
				t.Errorf("exit code %d, want %d, standard error %q, want %q", code, test.code, stderr, test.want)
			}
			if code != ExitFine && stdout != "" {
				t.Errorf("the failed command printed %q", stdout)
			}
			if strings.Contains(stderr, keyStorePassword) {
				t.Errorf("the password is in %q", stderr)
			}
		})
	}
}

func TestPasswordsLoseOneNewline(t *testing.T) {
	for _, test := range []struct{ content, want string }{{"", ""}, {"\n", ""}, {"a\n", "a"}, {"a\r\n", "a"},
		{"a\n\n", "a\n"}, {"a\r", "a"}, {" a ", " a "}} {
		content, want := test.content, test.want
		got, err := readPassword(standardInput, strings.NewReader(content), nil, "")
		if err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", content, got, err, want)
		}
	}
}

func TestCredentialLeadsToItsCommands(t *testing.T) {
	tests := map[string]struct {
		args []string
		code int
		want string
	}{
		"no command prints the help": {nil, 0, ""},
		"a command that is nearly one": {
			[]string{"imports"},
			2,
			`mtls-egress-webhook credential has no command "imports"; did you mean import?`,
		},
		"a command that is far from any": {
			[]string{"destroy"},
			2,
			`mtls-egress-webhook credential has no command "destroy"`,
		},
		"import takes one file": {
			[]string{"import", "a", "b"},
			2,
			`mtls-egress-webhook credential import takes one argument, FILE: remove "b"`,
		},
		"an unknown flag leads to the import": {
			[]string{"import", "--password", "x"},
			2,
			"mtls-egress-webhook credential import has no flag --password; did you mean --password-file?",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, stderr, code := executeCredential("", test.args...)
			if diff := cmp.Diff(test.want, stderr); diff != "" || code != test.code {
				t.Errorf("exit code %d, standard error (-want +got):\n%s", code, diff)
			}
		})
	}
}
