package cli

import (
	"bytes"
	"crypto/x509/pkix"
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

// The test describes the example, whose output doesn't depend on the current time.
func TestDescribePrintsTheGoldenOutput(t *testing.T) {
	now := time.Date(2027, time.January, 1, 0, 0, 0, 0, time.UTC)
	whole := describeFlags{
		forPartner:       true,
		target:           "external.system.com",
		sourceFlags:      sourceFlags{passwordFile: exampleOf("password.txt")},
		gatewayNamespace: "istio-system",
		gatewaySelector:  "istio=ingressgateway",
	}
	for file, test := range map[string]struct {
		argument string
		change   func(*describeFlags)
		stderr   string
	}{
		"credential-describe.txt": {argument: "keystore.p12",
			change: func(f *describeFlags) { f.output = outputText }},
		"credential-describe.yaml": {argument: "keystore.p12",
			change: func(f *describeFlags) { f.output = outputYAML }},
		"credential-describe.json": {argument: "keystore.p12",
			change: func(f *describeFlags) { f.output = outputJSON }},
		"credential-describe-alone.txt": {
			argument: "client.pem", change: func(f *describeFlags) { f.output, f.target = outputText, "" },
			stderr: `Warning: the certificate is alone, without its issuer "CN=Partner Client CA,O=Partner,C=DE": ` +
				`partners that trust only a root above that issuer reject it; if the issuer is an ` +
				`intermediate, append its certificate` + "\n",
		},
		"credential-describe-issuer.yaml": {
			argument: "client.pem", change: func(f *describeFlags) {
				f.output, f.issuerCAs = outputYAML, []string{exampleOf("chain.pem")}
				f.gatewayNamespace, f.gatewaySelector, f.credentialName = "edge", "app=gateway,tier=edge", "shop"
			},
		},
	} {
		t.Run(file, func(t *testing.T) {
			flags := whole
			test.change(&flags)
			var out, diagnostics bytes.Buffer
			if err := runDescribe(t.Context(), nil, &out, &diagnostics, exampleOf(test.argument), &flags,
				now); err != nil {
				t.Fatal(err)
			}
			golden.Compare(t, filepath.Join("..", "..", "test", "testdata", "cli", file), out.Bytes())
			if diff := cmp.Diff(test.stderr, diagnostics.String()); diff != "" {
				t.Errorf("standard error (-want +got):\n%s", diff)
			}
		})
	}
}

// Every output has the same manifests and no private key.
func TestDescribeAgreesWithItself(t *testing.T) {
	store := newKeyStore(t)
	printed := map[string]string{}
	for _, output := range []string{outputText, outputYAML, outputJSON} {
		stdout, stderr, code := executeCredential("", "describe", "--for-partner", store.path("keystore.p12"),
			"--password-file", store.path("password.txt"), "--target", "External.System.com", "-o", output)
		if code != ExitFine || stderr != "" {
			t.Fatalf("exit code %d, standard error %q", code, stderr)
		}
		if strings.Contains(stdout, "PRIVATE") || strings.Contains(stdout, store.key()[60:100]) ||
			strings.Contains(stdout, string(store.client.KeyPEM[60:100])) {
			t.Errorf("the key is in\n%s", stdout)
		}
		printed[output] = stdout
	}
	var structured struct{ Manifests []credential.Manifest }
	if err := json.Unmarshal([]byte(printed[outputJSON]), &structured); err != nil {
		t.Fatal(err)
	}
	var wanted []map[string]any
	for _, manifest := range structured.Manifests {
		wanted = append(wanted, manifest.Object)
	}
	_, below, _ := strings.Cut(printed[outputText], "\nFor a partner on Istio:\n\n")
	for output, text := range map[string]string{outputYAML: printed[outputYAML], outputText: below} {
		if diff := cmp.Diff(wanted, yamlObjects(t, text)); diff != "" || len(wanted) != 3 {
			t.Errorf("%d manifests, -o %s (-json +%[2]s):\n%s", len(wanted), output, diff)
		}
	}
}

// yamlObjects returns the objects of a stream, without documents that contain only comments.
func yamlObjects(t *testing.T, stream string) []map[string]any {
	t.Helper()
	var objects []map[string]any
	for document := range strings.SplitSeq(stream, "---\n") {
		var object map[string]any
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		if object != nil {
			objects = append(objects, object)
		}
	}
	return objects
}

// The author of a certificate must not be able to inject manifests.
func TestDescribeKeepsNamesInComments(t *testing.T) {
	for name, lineBreak := range map[string]string{"line feed": "\n", "next line": "\u0085", "line separator": "\u2028",
		"paragraph separator": "\u2029"} {
		t.Run(name, func(t *testing.T) {
			ca := pki.NewCA(t, "Partner CA")
			template := pki.Client("")
			template.Subject = pkix.Name{CommonName: "a" + lineBreak + "kind: Namespace"}
			if lineBreak == "\n" {
				template.DNSNames = []string{"a\nkind: Namespace"}
			}
			path := filepath.Join(t.TempDir(), "client.pem")
			write(t, path, string(ca.Issue(t, template).CertPEM)+string(ca.CertPEM))
			stdout, stderr, code := executeCredential("", "describe", "--for-partner", path, "--target",
				"external.system.com", "-o", "yaml")
			if code != ExitFine {
				t.Fatal(stderr)
			}
			var kinds []string
			for _, object := range yamlObjects(t, stdout) {
				kinds = append(kinds, object["kind"].(string))
			}
			if diff := cmp.Diff([]string{"Secret", "Gateway", "AuthorizationPolicy"}, kinds); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDescribeExitCodes(t *testing.T) {
	dir := t.TempDir()
	expired := pki.Client("orders")
	expired.NotAfter = pki.Epoch().AddDate(1, 0, 0)
	old := filepath.Join(dir, "expired.pem")
	write(t, old, string(pki.NewCA(t, "Partner CA").Issue(t, expired).CertPEM))
	ca, nobody := pki.NewCA(t, "Partner CA"), filepath.Join(dir, "nobody.pem")
	write(t, nobody, string(ca.Issue(t, pki.Client("")).CertPEM)+string(ca.CertPEM))
	partner := func(args ...string) []string { return append([]string{"--for-partner"}, args...) }
	const namesHost = "external.system.com"
	tests := map[string]struct {
		stdin  string
		args   []string
		code   int
		stderr string
	}{
		"an expired certificate": {
			args:   partner(old),
			code:   ExitNotFine,
			stderr: old + `: "` + old + `" (client certificate) expired on `,
		},
		"no issuer for the gateway": {
			args: partner(exampleOf("client.pem"), "--target", namesHost),
			code: ExitNotFine,
			stderr: exampleOf(
				"client.pem",
			) + `: the certificate is alone, without its issuer "CN=Partner Client CA,O=Partner,C=DE", which the ` +
				`gateway must trust: pass its certificate with --issuer-ca FILE`,
		},
		"nobody, described for a gateway": {
			args: partner(nobody, "--target", namesHost),
			code: ExitNotFine,
			stderr: nobody + ": the certificate has no subject, no DNS name and no URI, so X-Forwarded-Client-Cert " +
				"doesn't distinguish it from other certificates of its CA: request one with a name",
		},
		"issuers that aren't": {
			args: partner(exampleOf("client.pem"), "--issuer-ca", exampleOf("server-ca.pem")),
			code: ExitNotFine,
			stderr: exampleOf(
				"client.pem") + `: none of the given issuers (subject "CN=Partner Server CA,O=Partner,C=DE", serial `,
		},
		"issuers that can't be read": {
			args: partner(exampleOf("client.pem"), "--issuer-ca", exampleOf("client.key"), "--issuer-ca",
				filepath.Join(dir, "none")),
			code: ExitUnable,
			stderr: `--issuer-ca: "` + exampleOf(
				"client.key",
			) + `" (issuer of the client certificate) holds no certificate but a private key: were two parts swapped?` +
				"\n--issuer-ca: open " + filepath.Join(
				dir,
				"none",
			) + ": no such file or directory",
		},
		"a Secret of another kind": {
			stdin: "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: c2VjcmV0}\n",
			args:  partner("-"),
			code:  ExitNotFine,
			stderr: `standard input: the Secret has neither the keys "cert" and "key" (with the CA in "cacert") nor ` +
				`"tls.crt" and "tls.key" (with the CA in "ca.crt"): rename its keys, or name the keys to use in ` +
				`spec.credential.keys of the EgressTarget; the Secret has only the key "password"`,
		},
		"manifests without a host": {
			args: partner(exampleOf("client.pem"), "-o", "yaml"),
			code: ExitUnable,
			stderr: "--target is missing: -o yaml needs the host for the manifests; -o text and -o json describe the " +
				"certificate without a host",
		},
		"a name without a file that may be one": {
			args: partner("external-system-mtls-data"),
			code: ExitUnable,
			stderr: "open external-system-mtls-data: no such file or directory; for the Secret in the cluster, write " +
				"secret/external-system-mtls-data",
		},
		"all that is wrong with the command line": {
			args: []string{"secret/Up", "-n", "Up", "--target", "x", "--gateway-selector", "a b",
				"--gateway-namespace", "Up", "--credential-name", "Up"},
			code: ExitUnable,
			stderr: strings.Join([]string{
				"--for-partner is missing: it is required, because there is no other description yet; to check a " +
					"credential, use credential inspect",
				"secret/Up is not a valid Secret name: " + subdomainRule + "; for a file in a directory of " +
					"that name, write ./secret/Up",
				"--namespace Up: " + labelRule,
				"--target x has only one label; a host has at least two labels of letters, digits and inner hyphens, " +
					"for example external.system.com",
				"--gateway-selector a b: invalid selector: [a b]",
				"--gateway-namespace Up: " + labelRule,
				"--credential-name Up: " + subdomainRule,
			}, "\n"),
		},
		"a gateway that is every Pod": {
			args: partner(exampleOf("client.pem"), "--target", namesHost, "--gateway-selector", ""),
			code: ExitUnable,
			stderr: "--gateway-selector is empty, so it selects every Pod in the namespace: set it to a label of the " +
				"gateway's Pods, such as istio=ingressgateway",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := executeCredential(test.stdin, append([]string{"describe"}, test.args...)...)
			if code != test.code || stdout != "" || !strings.HasPrefix(stderr, test.stderr) ||
				strings.Contains(stderr, "c2VjcmV0") ||
				strings.HasSuffix(stderr, "FILE") != strings.HasSuffix(test.stderr, "FILE") {
				t.Errorf("exit code %d, want %d, standard output %q, standard error (-want +got):\n%s", code, test.code,
					stdout, cmp.Diff(test.stderr, stderr))
			}
		})
	}
}
