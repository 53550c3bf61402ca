package cli

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"mtls.egress/webhook/internal/certs/credential"
)

type completeFlags struct {
	secretFlags
	key          string
	passwordFile string
	certificates []string
	chains       []string
}

func newCredentialCompleteCommand() *cobra.Command {
	flags := &completeFlags{}
	cmd := &cobra.Command{
		Use: "complete --key FILE --cert FILE [--chain FILE]\n" +
			"      --server-ca FILE|system --target HOST [flags]",
		Short: "Join a private key and its signed certificate in a Secret",
		Long: `Combine the private key from credential csr with the signed certificate, and
print the Secret. The files can contain certificates in any order, in PEM or
DER. In the Secret, the certificate of the key comes first and its intermediates
follow in order. The root is omitted.

The command rejects a certificate of another key, one that is not for clients
and one that is not valid now, and names the difference. If a kubeconfig names a
cluster, it also rejects a Secret that another host uses there.

Exit codes: 0 done; 1 rejected, or the password is wrong; 2 invalid command line
or input. With 1 and 2, standard output is empty.`,
		Example: `  mtls-egress-webhook credential complete --key client.key --cert client.pem \
    --chain chain.pem --server-ca server-ca.pem --target external.system.com \
    | kubectl apply -f -`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runComplete(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), flags, time.Now())
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&flags.key, "key", "", "PEM file with the private key")
	cmd.Flags().StringVar(&flags.passwordFile, "password-file", "",
		"file with the password of an encrypted --key, or - for standard input; one trailing newline is removed "+
			"(default: a prompt on a terminal, then none)")
	cmd.Flags().StringArrayVar(&flags.certificates, "cert", nil,
		"PEM or DER file with the signed certificate and optionally others; repeatable")
	cmd.Flags().StringArrayVar(&flags.chains, "chain", nil,
		"PEM or DER file with intermediate certificates; repeatable")
	return cmd
}

func (f *completeFlags) validate() error {
	var problems []error
	if f.key == "" {
		problems = append(problems, errors.New("--key is missing: set it to the private key file from credential csr"))
	}
	if len(f.certificates) == 0 {
		problems = append(problems, errors.New("--cert is missing: set it to the file with the signed certificate"))
	}
	_, err := f.resolve()
	return wrongCommandLine(append(problems, err, f.secretFlags.validate("the chain of the certificate"))...)
}

func runComplete(
	ctx context.Context,
	in io.Reader,
	out, diagnostics io.Writer,
	flags *completeFlags,
	now time.Time,
) error {
	err := wrongCommandLine(flags.validate(), flags.refuseTerminal(out))
	if err := errors.Join(err, checkNewFile("--output-file", flags.outputFile)); err != nil {
		return err
	}
	t, err := flags.resolve()
	if err != nil {
		return err
	}
	t, err = flags.finish(t)
	if err != nil {
		return err
	}
	bundle, err := flags.read(in, diagnostics)
	if err != nil {
		return secretContent{bundle: bundle}.failed(diagnostics, err)
	}
	return flags.write(ctx, in, out, diagnostics, t, secretContent{bundle: bundle}, now)
}

// read reads all files and returns all errors at once.
func (f *completeFlags) read(in io.Reader, prompt io.Writer) (credential.Bundle, error) {
	var bundle credential.Bundle
	var problems []error
	var err error
	bundle.PrivateKey, err = readKey(in, prompt, f.key, f.passwordFile)
	if err != nil {
		problems = append(problems, fmt.Errorf("--key: %w", err))
	}
	for _, source := range []struct {
		flag  string
		names []string
	}{{"--cert", f.certificates}, {"--chain", f.chains}} {
		for _, name := range source.names {
			content, err := readFile(nil, name)
			if err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", source.flag, err))
				continue
			}
			certificates, skipped, err := credential.ReadChain(name, content)
			if err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", source.flag, err))
			}
			bundle.Certificates = append(bundle.Certificates, certificates...)
			bundle.Findings = append(bundle.Findings, skipped...)
		}
	}
	return bundle, errors.Join(problems...)
}

// readKey reads a private key. It reads the password only if the key is encrypted.
func readKey(in io.Reader, prompt io.Writer, file, passwordFile string) (crypto.Signer, error) {
	content, err := readFile(nil, file)
	if err != nil {
		return nil, err
	}
	password := ""
	if credential.NeedsPassword(content) && !credential.IsPKCS12(content) {
		if password, err = readPassword(passwordFile, in, prompt, "Password of "+sourceName(file)+": "); err != nil {
			return nil, err
		}
	}
	return inTime(readingLimit, func() (crypto.Signer, error) { return credential.ReadKey(file, content, password) })
}
