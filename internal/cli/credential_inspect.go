package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mtls.egress/webhook/internal/certs/credential"
)

type inspectFlags struct {
	sourceFlags
	output string
}

func newCredentialInspectCommand() *cobra.Command {
	flags := &inspectFlags{}
	cmd := &cobra.Command{
		Use:   "inspect (FILE | secret/NAME) [flags]",
		Short: "Show a credential and its problems",
		Long: `Read a PKCS#12 file, a PEM or DER file with certificates, a Secret manifest, or
a Secret in the cluster. Print its chain, with the subject in the notations of
RFC 4514 and Envoy, and all findings: what the controller would reject, and what
a partner might reject. The output contains no key.

secret/NAME is a Secret in the cluster, read with your own permissions. You need
only get on that Secret. Everything else is a file, and - is standard input.

Exit codes: 0 the credential is usable, possibly with warnings; 1 it is
rejected, or the password is wrong; 2 invalid command line or input, or the
cluster can't be read.`,
		Example: `  mtls-egress-webhook credential inspect keystore.p12 \
    --password-file password.txt

  mtls-egress-webhook credential inspect client.pem -o yaml

  mtls-egress-webhook credential inspect secret/external-system-mtls-data \
    -n project`,
		Args: oneArgument("FILE or secret/NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runInspect(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0], flags,
				time.Now())
		},
	}
	flags.add(cmd)
	addOutput(cmd, &flags.output, outputText, outputYAML, outputJSON)
	return cmd
}

func runInspect(
	ctx context.Context,
	in io.Reader,
	out, prompt io.Writer,
	argument string,
	flags *inspectFlags,
	now time.Time,
) error {
	if err := flags.validate(argument); err != nil {
		return err
	}
	name, material, err := flags.read(ctx, in, prompt, argument)
	if err != nil {
		return err
	}
	inspection := material.Inspect(now)
	encoded, err := encodeResult(inspection, flags.output, func() string {
		return highlighted(out, inspectionText(inspection))
	})
	if err != nil {
		return err
	}
	if _, err := out.Write(encoded); err != nil {
		return err
	}
	if inspection.Refused() {
		return notFine(fmt.Errorf("%s can't be used as a credential; see the findings", name))
	}
	return nil
}

// inspectionText formats the inspection for people.
func inspectionText(inspection *credential.Inspection) string {
	var text strings.Builder
	text.WriteString("Format:       " + inspection.Format + "\n")
	if inspection.Layout != "" {
		text.WriteString("Layout:       " + inspection.Layout + "\n")
	}
	key := inspection.KeyType
	if key == "" {
		key = "none"
	}
	text.WriteString("Private key:  " + key + "\n\nChain:\n")
	writeChain(&text, inspection.Chain)
	if len(inspection.ServerCA) > 0 {
		text.WriteString("\nCA of the server:\n")
	}
	for _, certificate := range inspection.ServerCA {
		writeDetails(&text, "", "", certificate)
	}
	text.WriteString("\nFindings:\n")
	for _, finding := range inspection.Findings {
		fmt.Fprintf(&text, "  %s (%s): %s\n", finding.Severity, finding.Reason, finding.Message)
	}
	if len(inspection.Findings) == 0 {
		text.WriteString("  none\n")
	}
	return printable(text.String())
}

// writeChain writes certificates as a tree, each below the one that it signed.
func writeChain(text *strings.Builder, chain []credential.Details) {
	for i, certificate := range chain {
		indent, relation := "", ""
		if i > 0 {
			indent, relation = strings.Repeat("   ", i-1), "└─ followed by "
			if chain[i-1].IssuedByNext {
				relation = "└─ issued by "
			}
		}
		writeDetails(text, indent, relation, certificate)
	}
}

func writeDetails(text *strings.Builder, indent, relation string, certificate credential.Details) {
	fmt.Fprintf(text, "%s%s%s\n", indent, relation, cmp.Or(certificate.Subject, "(no subject)"))
	if relation != "" {
		indent += "   "
	}
	signature := certificate.Signature + " by " + certificate.Issuer
	if certificate.SelfSigned {
		signature = certificate.Signature + " by itself"
	}
	for _, row := range [][2]string{
		{"in Envoy", certificate.EnvoySubject},
		{"serial number", certificate.SerialNumber},
		{"valid", fmt.Sprintf("%s to %s (%s)", certificate.NotBefore.Format(time.RFC3339),
			certificate.NotAfter.Format(time.RFC3339), credential.Validity(certificate.DaysLeft))},
		{"DNS names", strings.Join(certificate.DNSNames, ", ")},
		{"URIs", strings.Join(certificate.URIs, ", ")},
		{"e-mail", strings.Join(certificate.Emails, ", ")},
		{"IP addresses", strings.Join(certificate.IPAddresses, ", ")},
		{"key type", certificate.KeyType},
		{"signed", signature},
		{"key usage", certificate.KeyUsage},
		{"extended", certificate.ExtendedKeyUsage},
		{"SHA-256", certificate.SHA256},
	} {
		if row[1] != "" {
			fmt.Fprintf(text, "%s  %-14s %s\n", indent, row[0]+":", row[1])
		}
	}
}
