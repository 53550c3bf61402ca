package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/util/validation"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
)

// systemCA is the value of --server-ca for the CAs that the sidecar image trusts.
const systemCA = "system"

// The values of --layout.
const (
	layoutCert = "cert"
	layoutTLS  = "tls"
)

// secretFlags are the flags of the commands that create a Secret.
type secretFlags struct {
	connectionFlags
	target     string
	serverCA   string
	layout     string
	namespace  string
	secretName string
	output     string
	outputFile string
	// serverCAPasswordFile is for a trust store.
	serverCAPasswordFile string
	yesPrintKey          bool
}

// secretContent is what becomes a Secret.
type secretContent struct {
	bundle credential.Bundle
	// authorities are the CA of the server, if they don't come from --server-ca.
	authorities *credential.Authorities
	// withTarget reports whether the EgressTarget is written even if it has only defaults.
	withTarget bool
	// note is printed to standard error.
	note string
}

// failed prints the findings about what was read, which can explain err, and returns err.
func (c secretContent) failed(diagnostics io.Writer, err error) error {
	failed := writeNotes(diagnostics, findingLines(c.bundle.Findings))
	return errors.Join(err, failed)
}

func (f *secretFlags) add(cmd *cobra.Command) {
	set := cmd.Flags()
	set.StringVar(&f.target, "target", "", "the host of the credential")
	set.StringVar(&f.serverCA, "server-ca", "",
		"file with the CA of the server certificate (PEM, DER, PKCS#7, or a Java or PKCS#12 trust store), or system for "+
			"the CAs that the sidecar image trusts")
	set.StringVar(&f.serverCAPasswordFile, "server-ca-password-file", "",
		"file with the password of the trust store in --server-ca, or - for standard input (default: a prompt on a "+
			"terminal, then none)")
	set.StringVar(&f.layout, "layout", layoutCert,
		"the keys of the Secret: cert (cert, key, cacert) or tls (tls.crt, tls.key, ca.crt)")
	set.StringVarP(&f.namespace, "namespace", "n", "", "the namespace of the manifests (default: they have none)")
	set.StringVar(&f.secretName, "secret-name", "",
		"the name of the Secret (default: the default Secret of the host, such as "+
			"external-system-mtls-data for external.system.com)")
	addOutput(cmd, &f.output, outputYAML, "json (one List)", "text (a description without the key)")
	set.StringVar(&f.outputFile, "output-file", "",
		"write to a new file that only you can read instead of standard output")
	set.BoolVar(&f.yesPrintKey, "yes-print-key", false,
		"print the Secret with the private key even if standard output is a terminal")
	f.connectionFlags.add(cmd)
}

// serverCAMissing returns the error for a command line without --server-ca. chain describes what
// the user could mistake for the server's CA.
func serverCAMissing(chain string) error {
	return fmt.Errorf("--server-ca is missing: %s leads to the issuer of the client certificate, not "+
		"of the server certificate. "+
		"Set --server-ca FILE to the CA that the partner names for its server certificate, or "+
		"--server-ca %s if a public CA signs it; credential server-ca HOST shows which CA that is", chain, systemCA)
}

// refuseTerminal returns an error if the private key would be printed to a terminal.
func (f *secretFlags) refuseTerminal(out io.Writer) error {
	file, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) || f.outputFile != "" || f.output == outputText || f.yesPrintKey {
		return nil
	}
	return errors.New("the Secret holds the private key, and standard output is a terminal: add --output-file FILE, " +
		"pipe the output to kubectl apply -f -, or add --yes-print-key")
}

// validate returns all errors in the flags. chain is as for [serverCAMissing], or "" if --server-ca
// may be missing.
func (f *secretFlags) validate(chain string) error {
	var problems []error
	if f.serverCA == "" && chain != "" {
		problems = append(problems, serverCAMissing(chain))
	}
	if f.layout != layoutCert && f.layout != layoutTLS {
		problems = append(
			problems,
			fmt.Errorf("--layout %s: the layout is %s (cert, key, cacert) or %s (tls.crt, tls.key, ca.crt)", f.layout,
				layoutCert, layoutTLS),
		)
	}
	if errs := validation.IsDNS1123Subdomain(f.secretName); f.secretName != "" && len(errs) > 0 {
		problems = append(problems, fmt.Errorf("--secret-name %s: %s", f.secretName, strings.Join(errs, "; ")))
	}
	if errs := validation.IsDNS1123Label(f.namespace); f.namespace != "" && len(errs) > 0 {
		problems = append(problems, fmt.Errorf("--namespace %s: %s", f.namespace, strings.Join(errs, "; ")))
	}
	return wrongCommandLine(problems...)
}

// resolve returns the target of --target with its default Secret name.
func (f *secretFlags) resolve() (egress.Target, error) {
	if f.target == "" {
		return egress.Target{}, errors.New(
			"--target is missing: set it to the host of the credential, for example external.system.com")
	}
	host, err := egress.NormalizeHost(f.target)
	if err != nil {
		return egress.Target{}, fmt.Errorf("--target %s %w", f.target, err)
	}
	return egress.FromEgressTarget(f.namespace, host, nil, egress.Sinkhole{}), nil
}

func (f *secretFlags) finish(t egress.Target) (egress.Target, error) {
	if f.secretName != "" {
		t.SecretName = f.secretName
	}
	if errs := validation.IsDNS1123Subdomain(t.SecretName); len(errs) > 0 {
		return t, wrongCommandLine(fmt.Errorf("the default Secret name %s is not valid (%s): set --secret-name",
			t.SecretName, strings.Join(errs, "; ")))
	}
	t.ServerCA.System = f.serverCA == systemCA
	return t, nil
}

func (f *secretFlags) secretLayout() egress.Layout {
	layout := credential.CertKeyLayout()
	if f.layout == layoutTLS {
		layout = credential.TLSLayout()
	}
	if f.serverCA == systemCA {
		layout.ServerCA = ""
	}
	return layout
}

func (f *secretFlags) readServerCA(in io.Reader, prompt io.Writer) (credential.Authorities, error) {
	if f.serverCA == systemCA {
		return credential.Authorities{}, nil
	}
	authorities, err := readTrustStore(in, prompt, f.serverCA, f.serverCAPasswordFile)
	if err != nil {
		return credential.Authorities{}, fmt.Errorf("--server-ca: %w", err)
	}
	return authorities, nil
}

// readTrustStore reads a file with CA certificates. It reads the password only if the file is a
// trust store.
func readTrustStore(in io.Reader, prompt io.Writer, name, passwordFile string) (credential.Authorities, error) {
	content, err := readFile(nil, name)
	if err != nil {
		return credential.Authorities{}, err
	}
	password := ""
	if credential.NeedsPassword(content) {
		if password, err = readPassword(passwordFile, in, prompt, "Password of "+sourceName(name)+": "); err != nil {
			return credential.Authorities{}, err
		}
	}
	return inTime(readingLimit, func() (credential.Authorities, error) {
		return credential.ReadTrustStore(name, content, password)
	})
}

// write assembles the credential and writes its manifests. They include the EgressTarget if it
// differs from the defaults or is asked for.
func (f *secretFlags) write(
	ctx context.Context,
	in io.Reader,
	out, diagnostics io.Writer,
	t egress.Target,
	content secretContent,
	now time.Time,
) error {
	if content.authorities == nil {
		authorities, err := f.readServerCA(in, diagnostics)
		if err != nil {
			return content.failed(diagnostics, err)
		}
		content.authorities = &authorities
	}
	layout := f.secretLayout()
	assembled, err := credential.Assemble(content.bundle, *content.authorities, layout, now)
	if err != nil {
		return notFine(content.failed(diagnostics, err))
	}
	findings := assembled.Findings
	if f.output != outputText {
		overwritten, err := f.lookForOverwrite(ctx, t)
		if err != nil {
			return content.failed(diagnostics, err)
		}
		findings = append(findings, overwritten...)
	}
	withTarget := content.withTarget || t.ServerCA.System
	var encoded []byte
	if f.output == outputText {
		encoded, err = describeCredential(t, layout, assembled.Credential, now)
	} else {
		encoded, err = encode(secretObjects(t, layout, assembled.Data, withTarget), f.output)
	}
	if err != nil {
		return err
	}
	if err := writeNotes(diagnostics, findingLines(findings)+content.note); err != nil {
		return err
	}
	if err := writeOutput(out, f.outputFile, encoded); err != nil || f.output == outputText {
		return err
	}
	return writeNotes(diagnostics, f.typed(f.nextSteps(t, withTarget)))
}

// secretObjects returns the manifests of a credential.
func secretObjects(t egress.Target, layout egress.Layout, data map[string][]byte, withTarget bool) []map[string]any {
	var objects []map[string]any
	if withTarget {
		objects = append(objects, credential.EgressTargetManifest(t))
	}
	return append(objects, markFor(credential.SecretManifest(t.Namespace, t.SecretName, layout, data), t.Host))
}

// nextSteps returns what to do with the manifests.
func (f *secretFlags) nextSteps(t egress.Target, withTarget bool) string {
	namespace := cmp.Or(t.Namespace, "NAMESPACE")
	apply := fmt.Sprintf("pipe this output to kubectl apply -n %s -f -", namespace)
	if f.outputFile != "" {
		apply = fmt.Sprintf("kubectl apply -n %s -f %s", namespace, shellQuoted(f.outputFile))
	}
	try := "egt/" + t.Host
	annotations := egress.AnnotationTarget + "=" + t.Host
	if !withTarget {
		try = fmt.Sprintf("secret/%s --target %s", t.SecretName, t.Host)
		if t.SecretName != egress.DefaultSecretName(t.Host) {
			annotations += " " + egress.AnnotationSecret + "=" + t.SecretName
		}
	}
	return printable(fmt.Sprintf(`Next steps:
  1. Create the objects: %[3]s
  2. Try a handshake: %[1]s credential verify %[4]s -n %[2]s
  3. Annotate the workload: kubectl annotate -n %[2]s deployment NAME %[5]s
`, name, namespace, apply, try, annotations))
}

// findingLines formats findings as warnings in kubectl's style.
func findingLines(findings []credential.Finding) string {
	var text strings.Builder
	for _, finding := range findings {
		text.WriteString("Warning: " + finding.Message + "\n")
	}
	return printable(text.String())
}

// describeCredential describes the credential for people, without the private key.
func describeCredential(
	t egress.Target,
	layout egress.Layout,
	c *credential.Credential,
	now time.Time,
) ([]byte, error) {
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			// tabwriter returns write errors on Flush.
			_, _ = fmt.Fprintf(table, "%s:\t%s\n", name, printable(value))
		}
	}
	row("Target", fmt.Sprintf("%s:%d", t.Host, t.Port))
	row("Secret", fmt.Sprintf("%s (%s)", t.SecretName, layout))
	row("Subject", c.Subject)
	row("Issuer", c.Issuer)
	row("Serial number", c.SerialNumber)
	row(
		"Valid",
		fmt.Sprintf("%s to %s (%s)", c.NotBefore.Format(time.RFC3339), c.NotAfter.Format(time.RFC3339),
			credential.Validity(credential.DaysLeft(c.NotAfter, now))),
	)
	row("SHA-256", c.SHA256)
	row("DNS names", strings.Join(c.DNSNames, ", "))
	row("URIs", strings.Join(c.URIs, ", "))
	row("E-mail", strings.Join(c.Emails, ", "))
	row("IP addresses", strings.Join(c.IPAddresses, ", "))
	row("Key type", c.KeyType)
	row("Chain", egress.Counted(c.ChainLength, "certificate"))
	err := table.Flush()
	return text.Bytes(), err
}

// readFile reads a file, or in if name is -, up to the maximum size of a credential.
func readFile(in io.Reader, name string) ([]byte, error) {
	if in != nil && name == standardInput {
		return readLimited(in, sourceName(name))
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	content, err := readLimited(file, name)
	return content, errors.Join(err, file.Close())
}

// sourceName returns the name of a file for messages.
func sourceName(name string) string {
	if name == standardInput {
		return "standard input"
	}
	return printable(name)
}

// readLimited reads up to twice the maximum part size, to allow for base64 and JSON.
func readLimited(reader io.Reader, name string) ([]byte, error) {
	const limit = 2 * credential.MaxPartSize
	content, err := io.ReadAll(io.LimitReader(reader, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", name, err)
	case len(content) > limit:
		return nil, fmt.Errorf("reading %s: it has more than %d bytes, which is too large for a credential", name,
			limit)
	}
	return content, nil
}

// writeOutput writes to out, or to a new file if name is not empty.
func writeOutput(out io.Writer, name string, content []byte) error {
	if name == "" {
		_, err := out.Write(content)
		return err
	}
	return writeNewFile(name, content, privateFile)
}

// File modes.
const (
	privateFile os.FileMode = 0o600
	publicFile  os.FileMode = 0o644
)

// checkNewFile returns an error if [writeNewFile] can't write the file of a flag, before anything
// is read or sent. No name is valid.
func checkNewFile(flag, name string) error {
	if name == "" {
		return nil
	}
	if _, err := os.Lstat(name); err == nil {
		return fmt.Errorf("%s: %w", flag, existing(name))
	}
	folder := filepath.Dir(name)
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return fmt.Errorf("%s %s: %s is not a directory; create it, or choose another name", flag, printable(name),
			printable(folder))
	}
	return nil
}

func existing(name string) error {
	return fmt.Errorf("%s already exists and is not overwritten: move it, or choose another name", printable(name))
}

// writeNewFile writes a file that must not exist. An existing one may hold the only copy of a key,
// or be readable by others.
func writeNewFile(name string, content []byte, mode os.FileMode) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, os.ErrExist) {
		return existing(name)
	}
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err := errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}
