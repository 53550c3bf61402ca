package cli

import (
	"context"
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
	certificates []string
	chains       []string
}

func newCredentialCompleteCommand() *cobra.Command {
	flags := &completeFlags{}
	cmd := &cobra.Command{
		Use:   "complete --key FILE --cert FILE [--chain FILE] --server-ca FILE|system --target HOST [flags]",
		Short: "Join a private key and its signed certificate in a credential Secret",
		Long: `Join the private key that credential csr made with the certificate that was signed for it, and print the Secret. The files may hold
certificates in any order, PEM or DER: the one of the key comes first, its intermediates in order after it, the root is left out.

A certificate of another key, one that is no client's and one that isn't valid now are refused, with what they are instead. Where a
kubeconfig names a cluster, a Secret that another host uses there is refused too.

Exit codes: 0 done; 1 refused; 2 wrong command line or unreadable input. On 1 and 2 nothing is printed on standard output.`,
		Example: `  mtls-egress-webhook credential complete --key external.system.com.key --cert signed.pem --chain intermediate.pem --server-ca server-ca.pem --target external.system.com | kubectl apply -f -`,
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runComplete(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), flags, time.Now())
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&flags.key, "key", "", "PEM file with the private key, not encrypted")
	cmd.Flags().StringArrayVar(&flags.certificates, "cert", nil, "PEM or DER file with the signed certificate, and others if it has them; may be given several times")
	cmd.Flags().StringArrayVar(&flags.chains, "chain", nil, "PEM or DER file with intermediate certificates; may be given several times")
	return cmd
}

func (f *completeFlags) validate() error {
	var problems []error
	if f.key == "" {
		problems = append(problems, errors.New("--key is missing: it is the file with the private key, as credential csr made it"))
	}
	if len(f.certificates) == 0 {
		problems = append(problems, errors.New("--cert is missing: it is the file with the certificate that was signed"))
	}
	_, err := f.resolve()
	return errors.Join(append(problems, err, f.secretFlags.validate("the chain of the certificate"))...)
}

func runComplete(ctx context.Context, out, diagnostics io.Writer, flags *completeFlags, now time.Time) error {
	if err := flags.validate(); err != nil {
		return usageError(err)
	}
	t, err := flags.resolve()
	if err != nil {
		return usageError(err)
	}
	t, err = flags.finish(t)
	if err != nil {
		return usageError(err)
	}
	bundle, err := flags.read()
	if err != nil {
		return usageError(err)
	}
	return flags.write(ctx, out, diagnostics, t, bundle, false, now)
}

// read reads all files, and tells all that can't be read.
func (f *completeFlags) read() (credential.Bundle, error) {
	var bundle credential.Bundle
	var problems []error
	content, err := readFile(nil, f.key)
	if err == nil {
		bundle.PrivateKey, err = credential.ReadPrivateKey(f.key, content)
	}
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
			certificates, err := credential.ReadCertificates(name, content)
			if err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", source.flag, err))
			}
			bundle.Certificates = append(bundle.Certificates, certificates...)
		}
	}
	return bundle, errors.Join(problems...)
}
