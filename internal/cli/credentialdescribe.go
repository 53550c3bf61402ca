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
		Use:   "describe --for-partner (FILE | secret/NAME) [--target HOST] [flags]",
		Short: "Say what the other side has to configure for a credential",
		Long: `Print what a partner has to know to admit a credential: its subject as RFC 4514 writes it and as Envoy does, its names, serial number,
validity and fingerprints, and the certificates of its issuers as PEM. With --target also what a partner on Istio applies: the Secret with
the CA that the gateway trusts, the Gateway with mutual TLS, and the AuthorizationPolicy that lets this subject alone in. No key is printed,
and nothing of the server, so that all of it can be mailed.

It reads what credential inspect reads. The issuers come from the credential's own chain. Where that ends early, give the missing
certificates with --issuer-ca; the CA of the server is never taken for them.

With -o yaml the manifests alone are printed, ready for kubectl apply -f -, the rest as comments before them.

Exit codes: 0 done; 1 refused; 2 wrong command line or unreadable input. On 1 and 2 nothing is printed on standard output.`,
		Example: `  mtls-egress-webhook credential describe --for-partner secret/external-system-mtls-data -n project

  # What the partner applies
  mtls-egress-webhook credential describe --for-partner keystore.p12 --target external.system.com -o yaml`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runDescribe(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0], flags, time.Now())
		},
	}
	flags.add(cmd)
	set := cmd.Flags()
	set.BoolVar(&flags.forPartner, "for-partner", false, "describe it for the other side of the connection; has to be given, as there is no other description yet")
	set.StringArrayVar(&flags.issuerCAs, "issuer-ca", nil, "PEM or DER file with issuers of the client certificate that the credential doesn't hold; may be given several times")
	set.StringVar(&flags.target, "target", "", "the host that the credential is for; with it manifests for the partner's Istio are printed")
	set.StringVar(&flags.gatewayNamespace, "gateway-namespace", "istio-system", "the namespace of the partner's gateway")
	set.StringVar(&flags.gatewaySelector, "gateway-selector", "istio=ingressgateway", "labels of the Pods of the partner's gateway, as in a=b,c=d")
	set.StringVar(&flags.credentialName, "credential-name", "", "the name of the Secret with the certificate of the partner's server, and of the objects; default: the host with hyphens for dots")
	set.StringVarP(&flags.output, "output", "o", outputText, "text, yaml or json")
	return cmd
}

// gateway is where the partner admits clients, or all that is wrong with the flags that say so.
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
		problems = append(problems, errors.New("--gateway-selector is empty, and would select every Pod of the namespace: give a label of the gateway's Pods, as in istio=ingressgateway"))
	}
	if errs := validation.IsDNS1123Label(f.gatewayNamespace); len(errs) > 0 {
		problems = append(problems, fmt.Errorf("--gateway-namespace %s: %s", printable(f.gatewayNamespace), strings.Join(errs, "; ")))
	}
	gateway := credential.IstioGateway{Host: host, Namespace: f.gatewayNamespace, Selector: selector, CredentialName: f.credentialName}
	if gateway.CredentialName == "" {
		gateway.CredentialName = strings.ReplaceAll(host, ".", "-")
	}
	if errs := validation.IsDNS1123Subdomain(gateway.CASecretName()); len(errs) > 0 {
		problems = append(problems, fmt.Errorf("--credential-name %s: %s", printable(gateway.CredentialName), strings.Join(errs, "; ")))
	}
	return gateway, errors.Join(problems...)
}

func (f *describeFlags) validate(argument string) error {
	var problems []error
	if !f.forPartner {
		problems = append(problems, errors.New("--for-partner is missing: it is the only description that there is; credential inspect says what is wrong with a credential"))
	}
	problems = append(problems, checkOutput(f.output), f.sourceFlags.validate(argument))
	switch {
	case f.target != "":
		_, err := f.gateway()
		problems = append(problems, err)
	case f.output == outputYAML:
		problems = append(problems, errors.New("--target is missing: -o yaml prints the manifests for the host that is called; -o text and -o json describe the certificate without one"))
	}
	return errors.Join(problems...)
}

// readIssuers reads all files, and tells all that can't be read.
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

func runDescribe(ctx context.Context, in io.Reader, out, diagnostics io.Writer, argument string, flags *describeFlags, now time.Time) error {
	if err := flags.validate(argument); err != nil {
		return usageError(err)
	}
	issuers, err := flags.readIssuers()
	if err != nil {
		return usageError(err)
	}
	name, material, err := flags.read(ctx, in, diagnostics, argument)
	if err != nil {
		return err
	}
	description, err := material.Describe(issuers, now)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	printed := describedForPartner{Description: description}
	if flags.target != "" {
		gateway, err := flags.gateway()
		if err != nil {
			return usageError(err)
		}
		printed.Manifests, err = description.Manifests(gateway)
		switch {
		case err != nil && len(description.Issuers) == 0:
			return fmt.Errorf("%s: %w: give its certificate with --issuer-ca FILE", name, err)
		case err != nil:
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	encoded, err := printed.encode(flags.output)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(diagnostics, findingLines(description.Findings)); err != nil {
		return err
	}
	_, err = out.Write(encoded)
	return err
}

// describedForPartner is what is printed, in the form of -o json.
type describedForPartner struct {
	*credential.Description
	// Manifests are those of a partner on Istio, when there is a host.
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

// facts are what a person compares, a line each.
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
			// A tabwriter keeps its error for Flush.
			_, _ = fmt.Fprintf(table, "%s:\t%s\n", row[0], oneLine(row[1]))
		}
	}
	err := table.Flush()
	return text.String(), err
}

// issuerText is the chain of issuers as PEM, and what is missing of it.
func (d describedForPartner) issuerText() string {
	var text strings.Builder
	text.WriteString("Issuers:\n")
	for _, issuer := range d.Issuers {
		fmt.Fprintf(&text, "%s, valid to %s, SHA-256 %s\n%s", oneLine(issuer.Subject), issuer.NotAfter.Format(time.RFC3339), issuer.SHA256, issuer.PEM)
	}
	switch {
	case len(d.Issuers) == 0:
		text.WriteString("none in the credential: give the certificate of " + oneLine(d.Issuer) + " with --issuer-ca FILE\n")
	case !d.RootKnown:
		text.WriteString("The root is not among them: where the partner needs it, give it with --issuer-ca FILE.\n")
	}
	return text.String()
}

// manifests are the objects as YAML documents, each below what to know of it.
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

// comment makes each line a comment of YAML.
func comment(text string) string {
	return "# " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n# ") + "\n"
}

// wrap breaks a text at blanks, into lines of about 120 characters.
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

// oneLine is printable without line breaks. A certificate may hold any character in its names, and
// some end the line, and with it a comment of YAML.
func oneLine(text string) string { return egress.Printable(text) }
