package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
)

type importFlags struct {
	secretFlags
	passwordFile   string
	btpDestination string
}

func newCredentialImportCommand() *cobra.Command {
	flags := &importFlags{}
	cmd := &cobra.Command{
		Use: "import (FILE.p12 --target HOST | --btp-destination FILE [FILE.p12]) --server-ca FILE|system " +
			"[flags]",
		Short: "Create a credential Secret from a PKCS#12 file",
		Long: `Read a PKCS#12 file (.p12, .pfx), old or new, and print the Secret with its certificate, its
intermediates in order without the root, and its private key. With --btp-destination, read an
exported SAP BTP destination of the type ClientCertificateAuthentication, and also print the
EgressTarget of its URL. It is the JSON of the destination service, or the text that the cockpit
exports. The text doesn't contain the key store, so pass that too. The key store of a destination
can also be PEM. FILE can be - for standard input.

The CA of the server is required, because the key store doesn't contain it: the chain in the key
store leads to the issuer of the client certificate. With --server-ca system, the Secret has no CA,
and the output starts with a matching EgressTarget.

The command rejects what the controller would reject, with the same messages. It prints doubts as
warnings to standard error. If a kubeconfig names a cluster, it also rejects a Secret that another
host uses there, so that applying the manifest never overwrites another credential.

Exit codes: 0 done; 1 rejected; 2 invalid command line or input. With 1 and 2, standard output is
empty.`,
		Example: "  # Prompt for the password\n" +
			"  mtls-egress-webhook credential import keystore.p12 --target external.system.com " +
			"--server-ca server-ca.pem | kubectl apply -f -\n" +
			"\n" +
			"  # In a pipeline\n" +
			"  mtls-egress-webhook credential import keystore.p12 --password-file password.txt " +
			"--target external.system.com --server-ca system --output-file secret.yaml",
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runImport(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args, flags,
				time.Now())
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&flags.passwordFile, "password-file", "",
		"file with the key store password, or - for standard input; one trailing newline is removed (default: the "+
			"password in the destination, then a prompt on a terminal, then none)")
	cmd.Flags().StringVar(&flags.btpDestination, "btp-destination", "",
		"file with an exported SAP BTP destination, as JSON or as the text of the cockpit")
	return cmd
}

func runImport(
	ctx context.Context,
	in io.Reader,
	out, diagnostics io.Writer,
	args []string,
	flags *importFlags,
	now time.Time,
) error {
	if err := flags.validate(args); err != nil {
		return usageError(err)
	}
	if flags.btpDestination != "" {
		return importDestination(ctx, in, out, diagnostics, args, flags, now)
	}
	t, err := flags.resolve()
	if err != nil {
		return usageError(err)
	}
	t, err = flags.finish(t)
	if err != nil {
		return usageError(err)
	}
	content, err := readFile(in, args[0])
	if err != nil {
		return usageError(err)
	}
	bundle, err := openKeyStore(in, diagnostics, sourceName(args[0]), content, flags.passwordFile, readPKCS12)
	if err != nil {
		return usageError(err)
	}
	return flags.write(ctx, out, diagnostics, t, bundle, false, now)
}

func (f *importFlags) validate(args []string) error {
	var problems []error
	switch {
	case len(args) == 0 && f.btpDestination == "":
		problems = append(problems, errors.New("no input: pass a PKCS#12 file or --btp-destination FILE"))
	case len(args) > 0 && args[0] == standardInput && f.btpDestination == standardInput:
		problems = append(problems, errors.New("the key store and the destination can't both come from standard input"))
	case f.btpDestination != "" && f.target != "":
		problems = append(
			problems,
			errors.New(
				"--target and --btp-destination are mutually exclusive: the host comes from the destination's URL"),
		)
	}
	if f.passwordFile == standardInput && slices.Contains(append(args, f.btpDestination), standardInput) {
		problems = append(problems, errors.New("the file and the password can't both come from standard input"))
	}
	if f.btpDestination == "" {
		_, err := f.resolve()
		problems = append(problems, err)
	}
	return errors.Join(append(problems, f.secretFlags.validate("the chain in the key store"))...)
}

// openKeyStore reads the password only if content looks like a key store.
func openKeyStore(
	in io.Reader,
	prompt io.Writer,
	name string,
	content []byte,
	passwordFile string,
	decode reader,
) (credential.Bundle, error) {
	password := ""
	if credential.NeedsPassword(content) {
		read, err := readPassword(passwordFile, in, prompt, "Password of "+name+": ")
		if err != nil {
			return credential.Bundle{}, err
		}
		password = read
	}
	return openWith(name, content, password, decode)
}

// reader decodes a key store. The name is for messages.
type reader func(name string, content []byte, password string) (credential.Bundle, error)

func readPKCS12(_ string, content []byte, password string) (credential.Bundle, error) {
	return credential.ReadPKCS12(content, password)
}

func openWith(name string, content []byte, password string, read reader) (credential.Bundle, error) {
	bundle, err := inTime(readingLimit,
		func() (credential.Bundle, error) { return read(name, content, password) })
	if err != nil {
		return credential.Bundle{}, fmt.Errorf("%s: %w", name, err)
	}
	return bundle, nil
}

func importDestination(
	ctx context.Context,
	in io.Reader,
	out, diagnostics io.Writer,
	args []string,
	flags *importFlags,
	now time.Time,
) error {
	content, err := readFile(in, flags.btpDestination)
	if err != nil {
		return usageError(err)
	}
	destination, err := credential.ReadDestination(content)
	if err != nil {
		return usageError(fmt.Errorf("%s: %w", sourceName(flags.btpDestination), err))
	}
	name, err := flags.addKeyStore(in, destination, args)
	if err != nil {
		return usageError(err)
	}
	t, err := flags.finish(destination.Target(flags.namespace))
	if err != nil {
		return usageError(err)
	}
	bundle, err := openDestination(in, diagnostics, name, destination, flags)
	if err != nil {
		return usageError(err)
	}
	if _, err := io.WriteString(diagnostics, destinationRemarks(destination, t)); err != nil {
		return err
	}
	return flags.write(ctx, out, diagnostics, t, bundle, true, now)
}

// addKeyStore reads the key store that the text of the cockpit doesn't contain, and returns its
// name for messages.
func (f *importFlags) addKeyStore(
	in io.Reader,
	destination *credential.Destination,
	args []string,
) (name string, err error) {
	source := sourceName(f.btpDestination)
	switch {
	case destination.KeyStore != nil && len(args) > 0:
		return "", fmt.Errorf("%s contains its key store: omit %s", source, sourceName(args[0]))
	case destination.KeyStore != nil:
		return source + ", its key store", nil
	case len(args) == 0:
		return "", fmt.Errorf("%s is the text of the cockpit, which doesn't contain the key store %s: download it "+
			"there (Certificates), and pass it too, as in credential import FILE.p12 --btp-destination FILE", source,
			credential.Quote(destination.KeyStoreName))
	}
	destination.KeyStore, err = readFile(in, args[0])
	return sourceName(args[0]), err
}

func openDestination(
	in io.Reader,
	prompt io.Writer,
	name string,
	destination *credential.Destination,
	flags *importFlags,
) (credential.Bundle, error) {
	if flags.passwordFile == "" && destination.Password != "" {
		return openWith(name, destination.KeyStore, destination.Password, credential.ReadKeyStore)
	}
	return openKeyStore(in, prompt, name, destination.KeyStore, flags.passwordFile, credential.ReadKeyStore)
}

// destinationRemarks warns of parts of the destination that the manifests don't contain.
func destinationRemarks(destination *credential.Destination, t egress.Target) string {
	var findings []credential.Finding
	if destination.Path != "" {
		findings = append(
			findings,
			credential.Finding{
				Message: fmt.Sprintf(
					"the destination has the path %s, which an EgressTarget can't hold: the app calls http://%s%s",
					destination.Path, t.Host, destination.Path),
			},
		)
	}
	if destination.TrustAll {
		findings = append(
			findings,
			credential.Finding{
				Message: "the destination trusts every server (TrustAll); the sidecar always " +
					"validates the server certificate",
			},
		)
	}
	if destination.TrustStore != "" && t.ServerCA.System {
		findings = append(
			findings,
			credential.Finding{
				Message: fmt.Sprintf(
					"the destination has a trust store, %s, so the server's CA is probably not public: consider "+
						"--server-ca FILE with the content of that store", destination.TrustStore),
			},
		)
	}
	return findingLines(findings)
}
