package cli

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/test/golden"
	"mtls.egress/webhook/test/pki"
)

// archive writes the files that a partner sends into one.
func (s keyStore) archive(t *testing.T, name string, files map[string][]byte) string {
	t.Helper()
	var out bytes.Buffer
	writer := zip.NewWriter(&out)
	for entry, content := range files {
		file, err := writer.Create(entry)
		if err == nil {
			_, err = file.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, s.path(name), out.String())
	return s.path(name)
}

// TestImportReadsWhatMailBrings compares the Secret with the one of the PKCS#12 file.
func TestImportReadsWhatMailBrings(t *testing.T) {
	store := newKeyStore(t)
	want, _, code := executeCredential("", store.importing("external.system.com")...)
	if code != ExitFine {
		t.Fatalf("exit code %d", code)
	}
	chain := slices.Concat(store.client.CertPEM, store.issuing.CertPEM)
	write(t, store.path("mail.pem"), "Hello,\n"+string(chain)+"and the key:\n"+string(store.client.KeyPEM))
	whole := slices.Concat(chain, store.root.CertPEM)
	other := pki.NewCA(t, "Old Server CA")
	write(t, store.path("both.pem"), string(store.server.CertPEM)+string(other.CertPEM))
	three := store.archive(t, "three.zip", map[string][]byte{
		"client.crt": whole, "client.key": store.client.KeyPEM, "server-ca.crt": store.server.CertPEM,
	})
	rootless := store.archive(t, "rootless.zip", map[string][]byte{
		"client.crt": store.client.CertPEM, "client.key": store.client.KeyPEM, "root.pem": store.root.CertPEM,
	})
	keyless := store.archive(t, "keyless.zip", map[string][]byte{"client.crt": chain, "key.txt": []byte("lost")})
	two := store.archive(t, "two.zip", map[string][]byte{"client.crt": chain, "client.key": store.client.KeyPEM})
	own := store.archive(t, "own.zip", map[string][]byte{
		"client.crt": store.client.CertPEM, "client.key": store.client.KeyPEM, "ca.crt": store.issuing.CertPEM,
	})
	climbing := store.archive(t, "climbing.zip", map[string][]byte{"../client.key": store.client.KeyPEM})
	ca := []string{"--server-ca", store.path("server-ca.pem")}
	target := []string{"--target", "external.system.com"}

	tests := map[string]struct {
		args []string
		code int
		// stderr is the start of standard error.
		stderr string
	}{
		"PEM with text around it": {args: slices.Concat([]string{store.path("mail.pem")}, target, ca)},
		"an archive of the three files": {
			args: slices.Concat([]string{three}, target),
			stderr: `Note: the CA of the server is from "server-ca.crt" in the archive; compare each SHA-256 fingerprint ` +
				"with what the partner gave you:\n  " + credential.Fingerprint(store.server.Certificate.Raw) +
				"  subject \"CN=Server CA\"\n",
		},
		"an archive without the root of the client, and a CA that may be it": {
			args: slices.Concat([]string{rootless}, target), code: ExitUnable,
			stderr: rootless + `: the archive holds a CA in "root.pem", but not the issuer of subject "CN=orders", serial `,
		},
		"an archive without a key": {
			args: slices.Concat([]string{keyless}, target), code: ExitUnable,
			stderr: `Warning: the file "key.txt" in the archive is ignored: it holds neither a private key nor a ` +
				"certificate\n" + keyless + ": the archive holds no private key",
		},
		"an archive without the CA, and the CA": {args: slices.Concat([]string{two}, target, ca)},
		"an archive without the CA": {
			args: slices.Concat([]string{two}, target), code: ExitUnable,
			stderr: two + ": no file in the archive is the CA of the server alone: set --server-ca to the name of a file in " +
				"the archive or of another file, or to system if a public CA signs the server certificate; credential server-ca " +
				"HOST shows which CA that is",
		},
		"a CA for both, which has to be named": {
			args: slices.Concat([]string{own}, target), code: ExitUnable,
			stderr: own + ": no file in the archive is the CA of the server alone",
		},
		"a path that leads out of the archive": {
			args: slices.Concat([]string{climbing}, target), code: ExitUnable,
			stderr: climbing + `: the archive holds the path "../client.key", which leads out of it`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := executeCredential("", append([]string{"import"}, test.args...)...)
			if code != test.code || !strings.HasPrefix(stderr, test.stderr) || test.stderr == "" && stderr != "" {
				t.Errorf("exit code %d, standard error %q, want %q", code, stderr, test.stderr)
			}
			if code == ExitFine {
				if diff := cmp.Diff(want, stdout); diff != "" {
					t.Errorf("(-PKCS#12 +this):\n%s", diff)
				}
			} else if stdout != "" {
				t.Errorf("the failed command printed %q", stdout)
			}
		})
	}
	t.Run("a CA in the archive that is named", func(t *testing.T) {
		stdout, stderr, code := executeCredential("",
			slices.Concat([]string{"import", own, "--server-ca", "ca.crt"}, target)...)
		if code != ExitFine || strings.Count(stdout, "cacert: ") != 1 ||
			!strings.Contains(stderr, "Warning: the CA of the server is the issuer of the client certificate") {
			t.Errorf("exit code %d, standard error %q", code, stderr)
		}
	})
}

// TestImportNeverPrefersAFileOfTheArchive has a CA of the same name in the archive and next to it.
func TestImportNeverPrefersAFileOfTheArchive(t *testing.T) {
	store := newKeyStore(t)
	t.Chdir(store.dir)
	theirs := slices.Concat(pki.NewCA(t, "Theirs").CertPEM, pki.NewCA(t, "Theirs Too").CertPEM)
	own := base64.StdEncoding.EncodeToString(store.server.CertPEM)
	write(t, "server-ca.pem", string(store.server.CertPEM))
	store.archive(t, "mail.zip", map[string][]byte{
		"client.crt": slices.Concat(store.client.CertPEM, store.issuing.CertPEM), "client.key": store.client.KeyPEM,
		"server-ca.pem": theirs, "theirs.pem": theirs, "system": theirs, "folder": theirs,
	})
	if err := os.Mkdir("folder", 0o700); err != nil {
		t.Fatal(err)
	}
	trusted := base64.StdEncoding.EncodeToString(theirs)
	tests := map[string]struct {
		serverCA string
		// ca is the value of cacert, and stderr a part of standard error.
		ca, stderr string
		code       int
	}{
		"both have the name": {
			serverCA: "server-ca.pem", code: ExitUnable,
			stderr: "--server-ca server-ca.pem is the name of a file in the archive and of a local file: write " +
				"archive:server-ca.pem for the one in the archive, or ./server-ca.pem for the local one",
		},
		"the local one":              {serverCA: "./server-ca.pem", ca: own},
		"the local one, by its path": {serverCA: store.path("server-ca.pem"), ca: own},
		"the one in the archive": {
			serverCA: "archive:server-ca.pem", ca: trusted, stderr: `subject "CN=Theirs Too"`,
		},
		"a name that only the archive has": {serverCA: "theirs.pem", ca: trusted, stderr: `subject "CN=Theirs"`},
		"a name that a local folder has":   {serverCA: "folder", ca: trusted, stderr: `subject "CN=Theirs"`},
		"a file in the archive without a CA": {
			serverCA: "archive:client.key", code: ExitUnable, stderr: "holds no certificate",
		},
		"a file in the archive named system":  {serverCA: "archive:system", ca: trusted},
		"the CAs of the system, for all that": {serverCA: "system"},
		"a name that neither has": {
			serverCA: "none.pem", code: ExitUnable, stderr: "open none.pem: no such file",
		},
		"a name in the archive that it hasn't": {
			serverCA: "archive:none.pem", code: ExitUnable,
			stderr: `--server-ca archive:none.pem: the archive holds no file "none.pem"; for a local file, write ` +
				"./archive:none.pem",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := executeCredential("", "import", "mail.zip", "--target", "external.system.com",
				"--server-ca", test.serverCA)
			_, rest, _ := strings.Cut(stdout, "  cacert: ")
			ca, _, _ := strings.Cut(rest, "\n")
			if diff := cmp.Diff(test.ca, ca); diff != "" || code != test.code || !strings.Contains(stderr, test.stderr) {
				t.Errorf("exit code %d, standard error %q, CA (-want +got):\n%s", code, stderr, diff)
			}
		})
	}
}

// TestFailuresKeepTheWarnings fails after a certificate was omitted.
func TestFailuresKeepTheWarnings(t *testing.T) {
	store := newKeyStore(t)
	unreadable := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{0x30, 0x03, 1, 2, 3}})
	write(t, store.path("client.key"), string(store.client.KeyPEM))
	write(t, store.path("chain.pem"), string(store.issuing.CertPEM)+string(unreadable))
	_, stderr, code := executeCredential("", "complete", "--key", store.path("client.key"), "--cert",
		store.path("chain.pem"), "--server-ca", store.path("server-ca.pem"), "--target", "external.system.com")
	warning, failure, _ := strings.Cut(stderr, "\n")
	if code != ExitNotFine || !strings.HasPrefix(warning, "Warning: ") || !strings.Contains(warning, "is skipped") ||
		!strings.HasPrefix(failure, "no certificate matches the private key") {
		t.Errorf("exit code %d, standard error:\n%s", code, stderr)
	}
}

func TestImportEndsWithTheNextSteps(t *testing.T) {
	store := newKeyStore(t)
	var text strings.Builder
	for _, more := range [][]string{
		{},
		{"-n", "project", "--output-file", store.path("secret.yaml")},
		{"-n", "project", "--output-file", store.path("it's my secret.yaml")},
		{"--secret-name", "partner"},
		{"--server-ca", "system", "-n", "project"},
		{"-o", "text"},
	} {
		args := append([]string{"credential"}, store.importing("external.system.com", more...)...)
		_, stderr, err := executeWith("", args...)
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString(stable("$ import "+strings.Join(more, " ")+"\n"+stderr, store.dir))
	}
	compareWithGolden(t, "credential-import-next-steps", text.String())
}

// TestNoKeyIsPrintedToATerminal uses the master of a pseudo terminal, which is a terminal too.
func TestNoKeyIsPrintedToATerminal(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("needs a pseudo terminal: ", err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	tests := map[string]struct {
		out    *os.File
		change func(*secretFlags)
		want   string
	}{
		"a terminal": {out: terminal, want: "the Secret holds the private key, and standard output is a terminal: add " +
			"--output-file FILE, pipe the output to kubectl apply -f -, or add --yes-print-key"},
		"a terminal, and the user wants it": {out: terminal, change: func(f *secretFlags) { f.yesPrintKey = true }},
		"a file":                            {out: terminal, change: func(f *secretFlags) { f.outputFile = "s.yaml" }},
		"a description without the key":     {out: terminal, change: func(f *secretFlags) { f.output = outputText }},
		"a pipe":                            {out: nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			out := test.out
			if out == nil {
				_, writer, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				out = writer
			}
			flags := &importFlags{}
			flags.output = outputYAML
			if test.change != nil {
				test.change(&flags.secretFlags)
			}
			got := ""
			if err := flags.refuseTerminal(out); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("import reads nothing before", func(t *testing.T) {
		root := NewRootCommand()
		root.SetOut(terminal)
		root.SetArgs([]string{"credential", "import", "none.p12", "--target", "a.example", "--server-ca", "system"})
		if err := root.ExecuteContext(t.Context()); err == nil || ExitCode(err) != ExitUnable ||
			!strings.Contains(err.Error(), "--yes-print-key") {
			t.Errorf("%v", err)
		}
	})
}

func compareWithGolden(t *testing.T, name, text string) {
	t.Helper()
	golden.Compare(t, filepath.Join("..", "..", "test", "testdata", "cli", name+".txt"), []byte(text))
}
