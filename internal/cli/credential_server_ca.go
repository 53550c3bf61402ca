package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/internal/verify"
)

type serverCAFlags struct {
	partnerFlags
	from         []string
	passwordFile string
	save         string
	output       string
}

func newCredentialServerCACommand() *cobra.Command {
	flags := &serverCAFlags{}
	cmd := &cobra.Command{
		Use:   "server-ca HOST[:PORT] [--save FILE] [flags]",
		Short: "Show which CA signs the certificate of a server",
		Long: `Make a TLS handshake with a server, and show the certificates that it presents,
which CA to trust for it, and which sources have that CA: the server itself, the
files of --from, and the CAs that this machine trusts. With --from, only a CA in
one of the files is to be trusted. If the server doesn't send the root, and no
source has it, the command names it, and prints the address at which its issuer
publishes it. Nothing is fetched from there.

What a server presents is not proof: any server can present any certificate.
Compare the SHA-256 fingerprint of the CA with the one that the partner gave you
by another way.

The command sends a TLS handshake and nothing else: no client certificate and no
request.

Exit codes: 0 the CA was found; 1 no source has a CA for the server, or its
certificate is not usable (expired, for another name); 2 invalid command line or
input, or the server can't be reached or presents no certificate.`,
		Example: `  mtls-egress-webhook credential server-ca external.system.com

  mtls-egress-webhook credential server-ca external.system.com \
    --save server-ca.pem

  # A host that DNS doesn't have here, and a trust store of the partner
  mtls-egress-webhook credential server-ca external.system.com:8443 \
    --connect 192.0.2.1 --from truststore.jks`,
		Args: oneArgument("HOST or HOST:PORT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runServerCA(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0], flags,
				time.Now())
		},
	}
	flags.add(cmd)
	set := cmd.Flags()
	set.StringArrayVar(&flags.from, "from", nil,
		"only trust a CA in this file (PEM, DER, PKCS#7, or a Java or PKCS#12 trust store); repeatable")
	set.StringVar(&flags.passwordFile, "password-file", "",
		"file with the password of the trust stores in --from, or - for standard input (default: a prompt on a terminal, "+
			"then none)")
	set.StringVar(&flags.save, "save", "", "write the CA to trust to this new file, in PEM")
	addOutput(cmd, &flags.output, outputText, outputYAML, outputJSON)
	return cmd
}

// serverReport is what server-ca prints.
type serverReport struct {
	Target  string `json:"target"`
	Address string `json:"address"`
	Version string `json:"version,omitempty"`
	*credential.Presented
	// Problems are those of the certificate of the server, if the CA is trusted.
	Problems []string `json:"problems,omitempty"`
	// from are the files of --from.
	from []string
}

func runServerCA(
	ctx context.Context,
	in io.Reader,
	out, diagnostics io.Writer,
	argument string,
	flags *serverCAFlags,
	now time.Time,
) error {
	t, err := flags.target(argument)
	if err := errors.Join(wrongCommandLine(err), checkNewFile("--save", flags.save)); err != nil {
		return err
	}
	sources, err := flags.sources(in, diagnostics)
	if err != nil {
		return err
	}
	done := newProgress(diagnostics).wait("connecting to " + t.Host)
	seen := newProber(now).Probe(ctx, verify.Request{
		Host: t.Host, Port: t.Port, ServerName: t.SNI, SubjectAltNames: t.SubjectAltNames,
		Endpoints: t.EndpointsByPriority(), HTTPVersion: t.HTTPVersion,
	})
	done()
	if seen.Server == nil {
		return errors.New(verify.Evaluate(seen).Message) // there is no certificate to examine
	}
	report, err := reportOf(t, seen, sources, now)
	if err != nil {
		return notFine(err)
	}
	encoded, err := encodeResult(report, flags.output, report.text)
	if err != nil {
		return err
	}
	if _, err := out.Write(encoded); err != nil {
		return err
	}
	if err := notFine(report.err(t)); err != nil || flags.save == "" {
		return err
	}
	if err := writeNewFile(flags.save, credential.EncodeCertificate(report.Authority), publicFile); err != nil {
		return err
	}
	_, err = fmt.Fprintf(diagnostics, "%s holds the CA. Use it as --server-ca %s after you compared the fingerprint.\n",
		printable(flags.save), printable(shellQuoted(flags.save)))
	return err
}

// sources reads the files of --from. It warns about certificates that can't be read, because the CA
// can be one of them.
func (f *serverCAFlags) sources(in io.Reader, diagnostics io.Writer) ([]credential.Source, error) {
	var sources []credential.Source
	for _, name := range f.from {
		authorities, err := readTrustStore(in, diagnostics, name, f.passwordFile)
		if err != nil {
			return nil, fmt.Errorf("--from: %w", err)
		}
		if err := writeNotes(diagnostics, findingLines(authorities.Skipped)); err != nil {
			return nil, err
		}
		sources = append(sources, credential.Source{Name: name, Certificates: authorities.Certificates})
	}
	return sources, nil
}

func reportOf(
	t egress.Target, seen verify.Observation, sources []credential.Source, now time.Time,
) (*serverReport, error) {
	// Without them, only one of the sources is missing.
	system, _ := x509.SystemCertPool()
	presented, err := credential.Present(seen.Server.Chain, sources, system, now)
	if err != nil {
		return nil, err
	}
	report := &serverReport{
		Target:  net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port))),
		Address: seen.Address, Version: tls.VersionName(seen.Version), Presented: presented,
	}
	for _, source := range sources {
		report.from = append(report.from, source.Name)
	}
	if presented.Authority != nil {
		for _, problem := range verify.Problems(seen.Server.Chain, presented.Authority, t.SubjectAltNames, now) {
			report.Problems = append(report.Problems, problem.Message)
		}
	}
	return report, nil
}

// err returns why the CA can't be used, or nil.
func (r *serverReport) err(t egress.Target) error {
	switch {
	case len(r.Namesakes) > 0:
		return fmt.Errorf("DON'T TRUST THIS SERVER: %s has a CA with the name of the one that signs its certificate, but "+
			"with another key. Someone may answer in place of %s, or the partner replaced its CA: ask the partner by "+
			"another way than this connection", joinNames(r.Namesakes), t.Host)
	case r.Authority == nil && len(r.from) > 0:
		return fmt.Errorf("no file of --from (%s) has the CA of %s: ask the partner for the certificate of %s, and pass it "+
			"in --from FILE; what the server sends is not proof", joinNames(r.from), t.Host, credential.Quote(r.MissingIssuer))
	case r.Authority == nil:
		return fmt.Errorf("no source has the CA of %s: ask the partner for the certificate of %s, and pass it in --from FILE",
			t.Host, credential.Quote(r.MissingIssuer))
	case len(r.Problems) > 0:
		return errors.New(strings.Join(r.Problems, "; "))
	}
	return nil
}

// joinNames joins the names of files for a message.
func joinNames(names []string) string { return printable(strings.Join(names, ", ")) }

func (r *serverReport) text() string {
	var text strings.Builder
	fmt.Fprintf(&text, "Server:  %s, connected to %s (%s)\n\nThe server presents:\n", r.Target, r.Address, r.Version)
	writeChain(&text, r.Chain)
	text.WriteString("\nCA to trust:\n")
	if r.Trust == nil {
		text.WriteString("  none was found\n")
	} else {
		fmt.Fprintf(&text, "  %s (%s)\n", r.Trust.Subject, explainKind(r.Kind))
		fmt.Fprintf(&text, "  valid to %s (%s)\n", r.Trust.NotAfter.Format(time.RFC3339),
			credential.Validity(r.Trust.DaysLeft))
		fmt.Fprintf(&text, "  SHA-256  %s\n", credential.Fingerprint(r.Authority.Raw))
		for _, source := range r.Sources {
			has := "doesn't have it"
			if source.Found {
				has = "has it"
			}
			fmt.Fprintf(&text, "  - %s: %s\n", source.Source, has)
		}
	}
	switch {
	case len(r.Namesakes) > 0:
		fmt.Fprintf(&text, "  %s has a CA of the same name with another key.\n", joinNames(r.Namesakes))
	case r.MissingIssuer != "" && r.Authority == nil && len(r.from) > 0:
		fmt.Fprintf(&text, "  No file of --from has the certificate of %s.\n", r.MissingIssuer)
	case r.MissingIssuer != "":
		fmt.Fprintf(&text, "  No source has the certificate of %s.\n", r.MissingIssuer)
	}
	for _, url := range r.IssuerURLs {
		fmt.Fprintf(&text, "  The issuer publishes its certificate at %s (not fetched).\n", url)
	}
	text.WriteString(`
What a server presents is not proof. Compare the SHA-256 fingerprint with the one that the partner
gave you by another way before you trust the CA.
`)
	return printable(text.String())
}

// explainKind describes what trusting a CA of a kind means.
func explainKind(kind credential.TrustKind) string {
	switch kind {
	case credential.TrustIntermediate:
		return "an intermediate: calls fail after the partner changes it, so ask for the root"
	case credential.TrustUnsent:
		return "an intermediate that the server doesn't send, so the root is not enough: ask the partner to send it"
	case credential.TrustServer:
		return "the certificate of the server itself: calls fail after the partner renews it"
	case credential.TrustRoot:
	}
	return "the root: it stays when the partner changes the CAs below it"
}
