package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
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
		Use:   "import (FILE.p12 --target HOST | --btp-destination FILE.json) --server-ca FILE|system [flags]",
		Short: "Make a credential Secret of a PKCS#12 file",
		Long: `Read a PKCS#12 file (.p12, .pfx), old or new, and print the Secret that holds its certificate, its intermediates in order without the
root, and its private key. With --btp-destination read an exported destination of SAP BTP of the type ClientCertificateAuthentication,
and print the EgressTarget of its URL as well. FILE may be - for standard input.

The CA of the server has to be named, because the key store doesn't hold it: its chain leads to the issuer of the client certificate.
With --server-ca system the Secret has no CA, and an EgressTarget that says so is printed before it.

What the controller would refuse is refused here, with the same words. Doubts go to standard error as warnings. Where a kubeconfig names a
cluster, a Secret that another host uses there is refused too, so that applying the manifest overwrites no other credential.

Exit codes: 0 done; 1 refused; 2 wrong command line or unreadable input. On 1 and 2 nothing is printed on standard output.`,
		Example: `  # The password is asked for on the terminal
  mtls-egress-webhook credential import keystore.p12 --target external.system.com --server-ca server-ca.pem | kubectl apply -f -

  # In a pipeline
  mtls-egress-webhook credential import keystore.p12 --password-file password.txt --target external.system.com --server-ca system --output-file secret.yaml`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runImport(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args, flags, time.Now())
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&flags.passwordFile, "password-file", "", "file with the password of the key store, - for standard input; one trailing newline is dropped. Default: the one in the destination, else a prompt on a terminal, else none")
	cmd.Flags().StringVar(&flags.btpDestination, "btp-destination", "", "exported destination of SAP BTP, a JSON file")
	return cmd
}

func runImport(ctx context.Context, in io.Reader, out, diagnostics io.Writer, args []string, flags *importFlags, now time.Time) error {
	if err := flags.validate(args); err != nil {
		return usageError(err)
	}
	if flags.btpDestination != "" {
		return importDestination(ctx, in, out, diagnostics, flags, now)
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
	bundle, err := openKeyStore(in, diagnostics, sourceName(args[0]), content, flags.passwordFile)
	if err != nil {
		return usageError(err)
	}
	return flags.write(ctx, out, diagnostics, t, bundle, false, now)
}

func (f *importFlags) validate(args []string) error {
	var problems []error
	switch {
	case len(args) == 0 && f.btpDestination == "":
		problems = append(problems, errors.New("say what to read: a PKCS#12 file, or --btp-destination FILE"))
	case len(args) > 0 && f.btpDestination != "":
		problems = append(problems, errors.New("a PKCS#12 file and --btp-destination can't be given together"))
	case f.btpDestination != "" && f.target != "":
		problems = append(problems, errors.New("--target and --btp-destination can't be given together: the host is that of the destination's URL"))
	}
	reads := f.btpDestination
	if len(args) > 0 {
		reads = args[0]
	}
	if reads == standardInput && f.passwordFile == standardInput {
		problems = append(problems, errors.New("the file and the password can't both come from standard input"))
	}
	if f.btpDestination == "" {
		_, err := f.resolve()
		problems = append(problems, err)
	}
	return errors.Join(append(problems, f.secretFlags.validate("the chain in the key store"))...)
}

// openKeyStore reads the password only after the file looks like a key store.
func openKeyStore(in io.Reader, prompt io.Writer, name string, content []byte, passwordFile string) (credential.Bundle, error) {
	password := ""
	if credential.IsPKCS12(content) {
		read, err := readPassword(passwordFile, in, prompt, "Password of "+name+": ")
		if err != nil {
			return credential.Bundle{}, err
		}
		password = read
	}
	return openWith(name, content, password)
}

func openWith(name string, content []byte, password string) (credential.Bundle, error) {
	bundle, err := inTime(readingLimit, func() (credential.Bundle, error) { return credential.ReadPKCS12(content, password) })
	if err != nil {
		return credential.Bundle{}, fmt.Errorf("%s: %w", name, err)
	}
	return bundle, nil
}

func importDestination(ctx context.Context, in io.Reader, out, diagnostics io.Writer, flags *importFlags, now time.Time) error {
	content, err := readFile(in, flags.btpDestination)
	if err != nil {
		return usageError(err)
	}
	destination, err := credential.ReadDestination(content)
	if err != nil {
		return usageError(fmt.Errorf("%s: %w", sourceName(flags.btpDestination), err))
	}
	t, err := flags.finish(destination.Target(flags.namespace))
	if err != nil {
		return usageError(err)
	}
	bundle, err := openDestination(in, diagnostics, destination, flags)
	if err != nil {
		return usageError(err)
	}
	if _, err := io.WriteString(diagnostics, destinationRemarks(destination, t)); err != nil {
		return err
	}
	return flags.write(ctx, out, diagnostics, t, bundle, true, now)
}

func openDestination(in io.Reader, prompt io.Writer, destination *credential.Destination, flags *importFlags) (credential.Bundle, error) {
	name := sourceName(flags.btpDestination) + ", its key store"
	if flags.passwordFile == "" && destination.Password != "" {
		return openWith(name, destination.KeyStore, destination.Password)
	}
	return openKeyStore(in, prompt, name, destination.KeyStore, flags.passwordFile)
}

// destinationRemarks say what of the destination the manifests don't hold.
func destinationRemarks(destination *credential.Destination, t egress.Target) string {
	var findings []credential.Finding
	if destination.Path != "" {
		findings = append(findings, credential.Finding{Message: fmt.Sprintf("the destination has the path %s, which an EgressTarget has not: the app calls http://%s%s", destination.Path, t.Host, destination.Path)})
	}
	if destination.TrustAll {
		findings = append(findings, credential.Finding{Message: "the destination trusts every server (TrustAll); here the certificate of the server is always checked"})
	}
	if destination.TrustStore != "" && t.ServerCA.System {
		findings = append(findings, credential.Finding{Message: fmt.Sprintf("the destination has a trust store, %s, so that the server's CA is hardly a public one: --server-ca FILE with what that store holds may be right", destination.TrustStore)})
	}
	return findingLines(findings)
}
