package cli

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/test/golden"
	"mtls.egress/webhook/test/pki"
)

// exampleOf returns a file of the credential example.
func exampleOf(name string) string {
	return filepath.Join("..", "..", "examples", "credential", name)
}

// The test inspects the example, whose output depends only on the current day.
func TestInspectPrintsTheGoldenText(t *testing.T) {
	var out bytes.Buffer
	flags := &inspectFlags{sourceFlags: sourceFlags{passwordFile: exampleOf("password.txt")}, output: outputText}
	now := time.Date(2027, time.January, 1, 0, 0, 0, 0, time.UTC)
	if err := runInspect(t.Context(), nil, &out, nil, exampleOf("keystore.p12"), flags, now); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, filepath.Join("..", "..", "test", "testdata", "cli", "credential-inspect.txt"), out.Bytes())
}

// inspect reads every format that import prints, and shows the same certificates.
func TestInspectReadsWhatImportPrints(t *testing.T) {
	for _, args := range [][]string{
		{"--server-ca", exampleOf("server-ca.pem")},
		{"--server-ca", exampleOf("server-ca.pem"), "-o", "json"},
		{"--server-ca", exampleOf("server-ca.pem"), "--layout", "tls"},
		{"--server-ca", "system"},
	} {
		t.Run(strings.Join(args[2:], " "), func(t *testing.T) {
			manifests, stderr, code := executeCredential(
				"",
				append([]string{"import", "--btp-destination", exampleOf("destination.json")}, args...)...)
			if code != ExitFine {
				t.Fatal(stderr)
			}
			stdout, stderr, code := executeCredential(manifests, "inspect", "-", "-o", "json")
			if code != ExitFine || stderr != "" {
				t.Fatalf("exit code %d, standard error %q", code, stderr)
			}
			var inspection credential.Inspection
			if err := json.Unmarshal([]byte(stdout), &inspection); err != nil {
				t.Fatal(err)
			}
			var subjects []string
			for _, certificate := range inspection.Chain {
				subjects = append(subjects, certificate.Subject)
			}
			if diff := cmp.Diff([]string{"CN=orders,OU=Shop,O=Example,C=DE", "CN=Partner Client CA,O=Partner,C=DE"},
				subjects); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestInspectPrintsTheSameAsYAMLAndJSON(t *testing.T) {
	var printed []credential.Inspection
	for _, output := range []string{outputYAML, outputJSON} {
		stdout, stderr, code := executeCredential("", "inspect", exampleOf("client.pem"), "-o", output)
		if code != ExitFine || stderr != "" {
			t.Fatalf("exit code %d, standard error %q", code, stderr)
		}
		var inspection credential.Inspection
		if err := yaml.Unmarshal([]byte(stdout), &inspection); err != nil {
			t.Fatal(err)
		}
		printed = append(printed, inspection)
	}
	if diff := cmp.Diff(printed[0], printed[1]); diff != "" || printed[0].Format != credential.FormatPEM ||
		len(printed[0].Chain) != 1 {
		t.Errorf("format %s, (-yaml +json):\n%s", printed[0].Format, diff)
	}
}

func TestInspectExitCodes(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	ca := pki.NewCA(t, "Partner CA")
	expired := pki.Client("orders")
	expired.NotAfter = pki.Epoch().AddDate(1, 0, 0)
	write(t, path("expired.pem"), string(ca.Issue(t, expired).CertPEM))
	write(t, path("escape.pem"), string(ca.Issue(t, pki.Client("a\x1b[2Jb")).CertPEM))
	const other = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\nstringData:\n  password: c2VjcmV0\n"
	tests := map[string]struct {
		stdin  string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		"an expired certificate is printed and refused": {
			args:   []string{path("expired.pem")},
			code:   1,
			stdout: "  refused (CertificateExpired): ",
			stderr: path("expired.pem") + " can't be used as a credential; see the findings",
		},
		"warnings are not a failure": {
			args:   []string{exampleOf("client.pem")},
			stdout: "  warning (ChainIncomplete): the certificate is alone",
		},
		"a name that would write to the terminal": {args: []string{path("escape.pem")}, stdout: `CN=a\1B[2Jb`},
		"a Secret of another kind": {
			stdin: other,
			args:  []string{"-"},
			code:  1,
			stderr: `standard input: the Secret has neither the keys "cert" and "key" (with the CA in "cacert") nor ` +
				`"tls.crt" and "tls.key" (with the CA in "ca.crt"): rename its keys, or name the keys to use in ` +
				`spec.credential.keys of the EgressTarget; the Secret has only the key "password"`,
		},
		"two Secrets": {
			stdin:  other + "---\n" + other,
			args:   []string{"-"},
			code:   2,
			stderr: "standard input: the manifests contain 2 Secrets; pass exactly one",
		},
		"a manifest without a Secret": {
			stdin:  plainService,
			args:   []string{"-"},
			code:   2,
			stderr: "standard input: the manifests contain 0 Secrets; pass exactly one",
		},
		"data that is not base64": {
			stdin: strings.Replace(other, "stringData", "data", 1) + "  x: '!secret'\n",
			args:  []string{"-"},
			code:  2,
			stderr: "standard input: is not a valid Secret: values of data must be base64, " +
				"and those of stringData text",
		},
		"a wrong password": {
			stdin:  "wrong",
			args:   []string{exampleOf("keystore.p12"), "--password-file", "-"},
			code:   1,
			stderr: exampleOf("keystore.p12") + ": the password is wrong",
		},
		"a key alone": {
			args: []string{exampleOf("client.key")},
			code: 2,
			stderr: `"` + exampleOf(
				"client.key",
			) + `" (client certificate) holds no certificate but a private key: were two parts swapped?`,
		},
		"no file": {
			args:   []string{path("none")},
			code:   2,
			stderr: "open " + path("none") + ": no such file or directory",
		},
		"all wrong flags at once": {
			args: []string{"-", "--password-file", "-", "-n", "project"},
			code: 2,
			stderr: "--namespace, --kubeconfig and --context require a Secret in the cluster, written as secret/NAME; " +
				"standard input is a file\nthe file and the password can't both come from standard input",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := executeCredential(test.stdin, append([]string{"inspect"}, test.args...)...)
			if code != test.code || !strings.Contains(stdout, test.stdout) || test.stdout == "" && stdout != "" {
				t.Errorf("exit code %d, want %d, standard output %q, want %q", code, test.code, stdout, test.stdout)
			}
			if !strings.HasPrefix(stderr, test.stderr) || test.stderr == "" && stderr != "" {
				t.Errorf("standard error %q, want %q", stderr, test.stderr)
			}
			if strings.Contains(stdout+stderr, "c2VjcmV0") || strings.Contains(stdout+stderr, "\x1b") {
				t.Errorf("a secret or a control character is in %q, %q", stdout, stderr)
			}
		})
	}
}
