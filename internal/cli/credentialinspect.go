package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/resource"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/certs/credential"
)

type inspectFlags struct {
	passwordFile string
	output       string
}

func newCredentialInspectCommand() *cobra.Command {
	flags := &inspectFlags{}
	cmd := &cobra.Command{
		Use:   "inspect FILE [flags]",
		Short: "Say what a credential is and what is wrong with it",
		Long: `Look into a PKCS#12 file, a PEM or DER file with certificates, or the manifest of a Secret, and print its chain, with the subject as RFC 4514
writes it and as Envoy does, and every finding: what the controller would refuse, and what a partner may refuse. No key is printed. FILE may be -
for standard input.

Exit codes: 0 the credential can be used, perhaps with warnings; 1 it is refused; 2 wrong command line or unreadable input.`,
		Example: `  mtls-egress-webhook credential inspect keystore.p12

  kubectl get secret external-system-mtls-data -o yaml | mtls-egress-webhook credential inspect -`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runInspect(cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0], flags, time.Now())
		},
	}
	set := cmd.Flags()
	set.StringVar(&flags.passwordFile, "password-file", "", "file with the password of a PKCS#12 file, - for standard input; one trailing newline is dropped. Default: a prompt on a terminal, else none")
	set.StringVarP(&flags.output, "output", "o", outputText, "text, yaml or json")
	return cmd
}

func runInspect(in io.Reader, out, prompt io.Writer, name string, flags *inspectFlags, now time.Time) error {
	problem := checkOutput(flags.output)
	if name == standardInput && flags.passwordFile == standardInput {
		problem = errors.Join(problem, errors.New("the file and the password can't both come from standard input"))
	}
	if problem != nil {
		return usageError(problem)
	}
	content, err := readFile(in, name)
	if err != nil {
		return usageError(err)
	}
	name = sourceName(name)
	inspection, err := inspect(in, prompt, name, content, flags.passwordFile, now)
	if err != nil {
		return err
	}
	encoded, err := encodeInspection(inspection, flags.output)
	if err != nil {
		return err
	}
	if _, err := out.Write(encoded); err != nil {
		return err
	}
	if inspection.Refused() {
		return fmt.Errorf("%s can't be used as a credential; the findings say why", name)
	}
	return nil
}

// inspect finds out which kind of file it is by its content.
func inspect(in io.Reader, prompt io.Writer, name string, content []byte, passwordFile string, now time.Time) (*credential.Inspection, error) {
	switch {
	case credential.IsPKCS12(content):
		password, err := readPassword(passwordFile, in, prompt, "Password of "+name+": ")
		if err != nil {
			return nil, usageError(err)
		}
		inspection, err := credential.InspectPKCS12(content, password, now)
		if err != nil {
			return nil, usageError(fmt.Errorf("%s: %w", name, err))
		}
		return inspection, nil
	case isManifest(content):
		data, err := readSecret(content)
		if err != nil {
			return nil, usageError(fmt.Errorf("%s: %w", name, err))
		}
		inspection, err := credential.InspectSecret(data, now)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return inspection, nil
	}
	inspection, err := credential.InspectCertificates(name, content, now)
	return inspection, usageError(err)
}

// isManifest says whether content is an object of Kubernetes. PEM has no kind, and neither has anything that is binary.
func isManifest(content []byte) bool {
	for document := range bytes.SplitSeq(content, []byte("\n---")) {
		var object struct {
			Kind string `json:"kind"`
		}
		if yaml.Unmarshal(document, &object) == nil && object.Kind != "" {
			return true
		}
	}
	return false
}

// readSecret reads the data of the only Secret among manifests. Lists are looked into.
func readSecret(content []byte) (map[string][]byte, error) {
	documents, err := readDocuments(bytes.NewReader(content), resource.FilenameOptions{Filenames: []string{standardInput}})
	if err != nil {
		return nil, err
	}
	var secrets []map[string]any
	for _, document := range documents {
		secrets = append(secrets, secretsOf(document.Object)...)
	}
	if len(secrets) != 1 {
		return nil, fmt.Errorf("the manifests have %d Secrets, and one is inspected at a time", len(secrets))
	}
	typed := &corev1.Secret{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(secrets[0], typed); err != nil {
		// The converter's words may repeat what it could not read, which is a key here.
		return nil, errors.New("can't be read as a Secret; data holds base64, stringData holds text")
	}
	data := map[string][]byte{}
	maps.Copy(data, typed.Data)
	for key, value := range typed.StringData {
		data[key] = []byte(value)
	}
	return data, nil
}

func secretsOf(object map[string]any) []map[string]any {
	if object["kind"] == "Secret" {
		return []map[string]any{object}
	}
	var secrets []map[string]any
	items, _ := object["items"].([]any)
	for _, item := range items {
		if element, ok := item.(map[string]any); ok {
			secrets = append(secrets, secretsOf(element)...)
		}
	}
	return secrets
}

func encodeInspection(inspection *credential.Inspection, output string) ([]byte, error) {
	switch output {
	case outputJSON:
		encoded, err := json.MarshalIndent(inspection, "", "    ")
		return append(encoded, '\n'), err
	case outputYAML:
		return yaml.Marshal(inspection)
	}
	return []byte(inspectionText(inspection)), nil
}

// inspectionText is the inspection for a person: the chain as a tree, each certificate below the one that it signed.
func inspectionText(inspection *credential.Inspection) string {
	var text strings.Builder
	text.WriteString("Format:       " + inspection.Format + "\n")
	if inspection.Layout != "" {
		text.WriteString("Layout:       " + inspection.Layout + "\n")
	}
	key := inspection.KeyType
	if key == "" {
		key = "none that can be read"
	}
	text.WriteString("Private key:  " + key + "\n\nChain:\n")
	for i, certificate := range inspection.Chain {
		indent, relation := "", ""
		if i > 0 {
			indent, relation = strings.Repeat("   ", i-1), "└─ followed by "
			if inspection.Chain[i-1].IssuedByNext {
				relation = "└─ issued by "
			}
		}
		writeDetails(&text, indent, relation, certificate)
	}
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

func writeDetails(text *strings.Builder, indent, relation string, certificate credential.Details) {
	fmt.Fprintf(text, "%s%s%s\n", indent, relation, certificate.Subject)
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
		{"valid", fmt.Sprintf("%s to %s (%d days left)", certificate.NotBefore.Format(time.RFC3339), certificate.NotAfter.Format(time.RFC3339), certificate.DaysLeft)},
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
