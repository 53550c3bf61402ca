package cli

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
)

type describeFlags struct {
	sourceFlags
	forPartner       bool
	issuerCAs        []string
	target           string
	gatewayNamespace string
	gatewaySelector  string
	credentialName   string
	output           string
}

func newCredentialDescribeCommand() *cobra.Command {
	flags := &describeFlags{}
	cmd := &cobra.Command{
		Use: "describe --for-partner (FILE | secret/NAME)\n" +
			"      [--target HOST] [flags]",
		Short: "Print what the partner must configure for a credential",
		Long: `Print what a partner needs to accept a credential: its subject in the notations
of RFC 4514 and Envoy, its names, serial number, validity and fingerprints, and
its issuer certificates in PEM. With --target, also print manifests for a
partner with Istio: the Secret with the CA that the gateway trusts, the Gateway
with mutual TLS, and an AuthorizationPolicy that admits only this subject. The
output contains no key and nothing about the server, so it is safe to send by
email.

The command reads the same sources as credential inspect. The issuers come from
the credential's own chain. If the chain is incomplete, pass the missing
certificates with --issuer-ca. The CA of the server is never used as an issuer.

With -o yaml, the output is ready for kubectl apply -f -: the manifests, after
comments with everything else.

Exit codes: 0 done; 1 rejected, or the password is wrong; 2 invalid command line
or input. With 1 and 2, standard output is empty.`,
		Example: `  mtls-egress-webhook credential describe --for-partner \
    secret/external-system-mtls-data -n project

  # What the partner applies
  mtls-egress-webhook credential describe --for-partner client.pem \
    --issuer-ca chain.pem --target external.system.com -o yaml`,
		Args: oneArgument("FILE or secret/NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runDescribe(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0], flags,
				time.Now())
		},
	}
	flags.add(cmd)
	set := cmd.Flags()
	set.BoolVar(&flags.forPartner, "for-partner", false,
		"describe the credential for the partner; required, because there is no other description yet")
	set.StringArrayVar(&flags.issuerCAs, "issuer-ca", nil,
		"PEM or DER file with issuers of the client certificate that the credential lacks; repeatable")
	set.StringVar(&flags.target, "target", "",
		"the host of the credential; adds manifests for the partner's Istio to the output")
	set.StringVar(&flags.gatewayNamespace, "gateway-namespace", "istio-system",
		"the namespace of the partner's gateway")
	set.StringVar(&flags.gatewaySelector, "gateway-selector", "istio=ingressgateway",
		"Pod labels of the partner's gateway, as in a=b,c=d")
	set.StringVar(&flags.credentialName, "credential-name", "",
		"the name of the partner's server certificate Secret and of the objects (default: the "+
			"host with hyphens for dots)")
	addOutput(cmd, &flags.output, outputText, "yaml (for kubectl apply)", outputJSON)
	return cmd
}

// gateway returns the partner's gateway from the flags, or all errors in them.
func (f *describeFlags) gateway() (credential.IstioGateway, error) {
	var problems []error
	host, err := egress.NormalizeHost(f.target)
	if err != nil {
		problems = append(problems, fmt.Errorf("--target %s %w", printable(f.target), err))
	}
	selector, err := labels.ConvertSelectorToLabelsMap(f.gatewaySelector)
	switch {
	case err != nil:
		problems = append(problems, fmt.Errorf("--gateway-selector %s: %w", printable(f.gatewaySelector), err))
	case len(selector) == 0:
		problems = append(
			problems,
			errors.New(
				"--gateway-selector is empty, so it selects every Pod in the namespace: set it to a label of the "+
					"gateway's Pods, such as istio=ingressgateway"),
		)
	}
	if errs := validation.IsDNS1123Label(f.gatewayNamespace); len(errs) > 0 {
		problems = append(problems,
			fmt.Errorf("--gateway-namespace %s: %s", printable(f.gatewayNamespace), strings.Join(errs, "; ")))
	}
	gateway := credential.IstioGateway{
		Host:           host,
		Namespace:      f.gatewayNamespace,
		Selector:       selector,
		CredentialName: f.credentialName,
	}
	if gateway.CredentialName == "" {
		gateway.CredentialName = strings.ReplaceAll(host, ".", "-")
	}
	if errs := validation.IsDNS1123Subdomain(gateway.CASecretName()); len(errs) > 0 {
		problems = append(problems,
			fmt.Errorf("--credential-name %s: %s", printable(gateway.CredentialName), strings.Join(errs, "; ")))
	}
	return gateway, errors.Join(problems...)
}

func (f *describeFlags) validate(argument string) error {
	var problems []error
	if !f.forPartner {
		problems = append(
			problems,
			errors.New(
				"--for-partner is missing: it is required, because there is no other description yet; to check a "+
					"credential, use credential inspect"),
		)
	}
	problems = append(problems, f.sourceFlags.validate(argument))
	switch {
	case f.target != "":
		_, err := f.gateway()
		problems = append(problems, err)
	case f.output == outputYAML:
		problems = append(
			problems,
			errors.New(
				"--target is missing: -o yaml needs the host for the manifests; -o text and -o json describe the "+
					"certificate without a host"),
		)
	}
	return wrongCommandLine(problems...)
}

// readIssuers reads all files and returns all errors at once.
func (f *describeFlags) readIssuers() ([]*x509.Certificate, error) {
	var issuers []*x509.Certificate
	var problems []error
	for _, name := range f.issuerCAs {
		content, err := readFile(nil, name)
		if err == nil {
			var certificates []*x509.Certificate
			certificates, err = credential.ReadIssuers(name, content)
			issuers = append(issuers, certificates...)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("--issuer-ca: %w", err))
		}
	}
	return issuers, errors.Join(problems...)
}

func runDescribe(
	ctx context.Context,
	in io.Reader,
	out, diagnostics io.Writer,
	argument string,
	flags *describeFlags,
	now time.Time,
) error {
	if err := flags.validate(argument); err != nil {
		return err
	}
	issuers, err := flags.readIssuers()
	if err != nil {
		return err
	}
	name, material, err := flags.read(ctx, in, diagnostics, argument)
	if err != nil {
		return err
	}
	description, err := material.Describe(issuers, now)
	if err != nil {
		return notFine(fmt.Errorf("%s: %w", name, err))
	}
	printed := describedForPartner{Description: description}
	if flags.target != "" {
		gateway, err := flags.gateway()
		if err != nil {
			return err
		}
		printed.Manifests, err = description.Manifests(gateway)
		switch {
		case err != nil && len(description.Issuers) == 0:
			return notFine(fmt.Errorf("%s: %w: pass its certificate with --issuer-ca FILE", name, err))
		case err != nil:
			return notFine(fmt.Errorf("%s: %w", name, err))
		}
	}
	encoded, err := printed.encode(flags.output)
	if err != nil {
		return err
	}
	if err := writeNotes(diagnostics, findingLines(description.Findings)); err != nil {
		return err
	}
	_, err = out.Write(encoded)
	return err
}

// describedForPartner is the output, in the form of -o json.
type describedForPartner struct {
	*credential.Description
	// Manifests are those of a partner with Istio, if --target is set.
	Manifests []credential.Manifest `json:"manifests,omitempty"`
}

func (d describedForPartner) encode(output string) ([]byte, error) {
	if output == outputJSON {
		encoded, err := json.MarshalIndent(d, "", "    ")
		return append(printableJSON(encoded), '\n'), err
	}
	facts, err := d.facts()
	if err != nil {
		return nil, err
	}
	manifests, err := d.manifests()
	switch {
	case err != nil:
		return nil, err
	case output == outputYAML:
		return append([]byte(comment(facts)), manifests...), nil
	case len(d.Manifests) == 0:
		return []byte(facts + "\n" + d.issuerText()), nil
	}
	return []byte(facts + "\n" + d.issuerText() + "\nFor a partner on Istio:\n\n" + string(manifests)), nil
}

// facts returns one line per fact.
func (d describedForPartner) facts() (string, error) {
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"Subject", d.Subject},
		{"Subject in Envoy", d.EnvoySubject},
		{"DNS names", strings.Join(d.DNSNames, ", ")},
		{"URIs", strings.Join(d.URIs, ", ")},
		{"E-mail", strings.Join(d.Emails, ", ")},
		{"IP addresses", strings.Join(d.IPAddresses, ", ")},
		{"Issuer", d.Issuer},
		{"Serial number", d.SerialNumber},
		{"Valid", d.NotBefore.Format(time.RFC3339) + " to " + d.NotAfter.Format(time.RFC3339)},
		{"Key type", d.KeyType},
		{"SHA-256", d.SHA256},
		{"SHA-256 of the public key", d.PublicKeySHA256},
	} {
		if row[1] != "" {
			// tabwriter returns write errors on Flush.
			_, _ = fmt.Fprintf(table, "%s:\t%s\n", row[0], oneLine(row[1]))
		}
	}
	err := table.Flush()
	return text.String(), err
}

// issuerText returns the chain of issuers as PEM, and notes what is missing.
func (d describedForPartner) issuerText() string {
	var text strings.Builder
	text.WriteString("Issuers:\n")
	for _, issuer := range d.Issuers {
		fmt.Fprintf(&text, "%s, valid to %s, SHA-256 %s\n%s", oneLine(issuer.Subject),
			issuer.NotAfter.Format(time.RFC3339), issuer.SHA256, issuer.PEM)
	}
	switch {
	case len(d.Issuers) == 0:
		text.WriteString(
			"none in the credential: pass the certificate of " + oneLine(d.Issuer) + " with --issuer-ca FILE\n")
	case !d.RootKnown:
		text.WriteString("The root is not among them: if the partner needs it, pass it with --issuer-ca FILE.\n")
	}
	return text.String()
}

// manifests returns the objects as YAML documents, each preceded by a comment.
func (d describedForPartner) manifests() ([]byte, error) {
	var text bytes.Buffer
	for _, manifest := range d.Manifests {
		encoded, err := yaml.Marshal(manifest.Object)
		if err != nil {
			return nil, err
		}
		text.WriteString("---\n" + comment(wrap(manifest.About)))
		text.Write(encoded)
	}
	return text.Bytes(), nil
}

// comment turns each line into a YAML comment.
func comment(text string) string {
	return "# " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n# ") + "\n"
}

// wrap wraps text at about 120 columns.
func wrap(text string) string {
	const width = 120
	var wrapped strings.Builder
	length := 0
	for n, word := range strings.Fields(text) {
		switch {
		case n == 0:
		case length+1+len(word) > width:
			wrapped.WriteByte('\n')
			length = 0
		default:
			wrapped.WriteByte(' ')
			length++
		}
		wrapped.WriteString(word)
		length += len(word)
	}
	return wrapped.String()
}

// oneLine replaces line breaks, too. A certificate can have any character in its names, and a line
// break would end a YAML comment.
func oneLine(text string) string { return egress.Printable(text) }
