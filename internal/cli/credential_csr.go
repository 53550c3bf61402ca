package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"mtls.egress/webhook/internal/certs/credential"
	"mtls.egress/webhook/internal/egress"
)

type csrFlags struct {
	identity credential.Identity
	keyType  string
	outDir   string
	output   string
}

func newCredentialCSRCommand() *cobra.Command {
	flags := &csrFlags{}
	cmd := &cobra.Command{
		Use:   "csr HOST [--subject NAME] [--dns NAME] [flags]",
		Short: "Create a private key and a certificate signing request",
		Long: `Create a private key and a certificate signing request (PKCS#10) for the
credential of HOST: the files HOST.key, which only you can read, and HOST.csr.
Existing files are not overwritten.

Send the .csr file to the CA that signs for the partner, and keep the key. After
you receive the signed certificate, run credential complete.

Exit codes: 0 done; 2 invalid command line, or the files could not be written.`,
		Example: `  mtls-egress-webhook credential csr external.system.com \
    --subject CN=orders,O=Example,C=DE --dns orders.example.com`,
		Args: oneArgument("the host of the credential"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runCSR(cmd, args[0], flags)
		},
	}
	set := cmd.Flags()
	set.StringVar(&flags.identity.Subject, "subject", "",
		"the subject in RFC 4514 notation, most specific part first: CN=orders,O=Example,C=DE")
	set.StringArrayVar(&flags.identity.DNSNames, "dns", nil,
		"DNS subject alternative name, which partners check; repeatable")
	set.StringArrayVar(&flags.identity.URIs, "uri", nil,
		"URI subject alternative name, for example spiffe://example.com/orders; repeatable")
	set.StringArrayVar(&flags.identity.Emails, "email", nil, "email subject alternative name; repeatable")
	set.StringArrayVar(&flags.identity.IPAddresses, "ip", nil, "IP address subject alternative name; repeatable")
	set.StringVar(&flags.keyType, "key-type", credential.DefaultKeyType,
		"the key type: "+strings.Join(credential.KeyTypes(), ", "))
	set.StringVar(&flags.outDir, "out-dir", ".", "the directory for the two files")
	addOutput(cmd, &flags.output, outputText, outputYAML, outputJSON)
	return cmd
}

func runCSR(cmd *cobra.Command, host string, flags *csrFlags) error {
	normalized, hostErr := egress.NormalizeHost(host)
	if hostErr != nil {
		hostErr = fmt.Errorf("HOST %s %w", host, hostErr)
	}
	keyTypeErr := credential.CheckKeyType(flags.keyType)
	if keyTypeErr != nil {
		keyTypeErr = fmt.Errorf("--key-type %w", keyTypeErr)
	}
	request, requestErr := credential.NewRequest(flags.identity)
	if err := wrongCommandLine(hostErr, requestErr, keyTypeErr); err != nil {
		return err
	}
	key, err := credential.GenerateKey(flags.keyType)
	if err != nil {
		return err
	}
	keyPEM, requestPEM, err := request.Encode(key)
	if err != nil {
		return err
	}
	keyFile, requestFile := filepath.Join(flags.outDir,
		normalized+".key"), filepath.Join(flags.outDir, normalized+".csr")
	if err := writePair(keyFile, keyPEM, requestFile, requestPEM); err != nil {
		return err
	}
	if err := writeNotes(cmd.ErrOrStderr(), findingLines(request.Findings())); err != nil {
		return err
	}
	created := createdRequest{Target: normalized, KeyType: flags.keyType, KeyFile: keyFile, RequestFile: requestFile}
	encoded, err := encodeResult(created, flags.output, func() string { return inTypedWords(cmd, created.text()) })
	if err != nil {
		return err
	}
	_, err = cmd.OutOrStdout().Write(encoded)
	return err
}

// createdRequest is what csr prints.
type createdRequest struct {
	Target  string `json:"target"`
	KeyType string `json:"keyType"`
	// KeyFile and RequestFile are the names of the files.
	KeyFile     string `json:"keyFile"`
	RequestFile string `json:"requestFile"`
}

func (r createdRequest) text() string {
	return fmt.Sprintf(`%s is the private key (%s). Keep it secret.
%s is the certificate signing request. Send it to the CA that signs for %s.
After you receive the signed certificate, run: %s credential complete --key %s --cert FILE --server-ca FILE --target %s
`, r.KeyFile, r.KeyType, r.RequestFile, r.Target, name, shellQuoted(r.KeyFile), r.Target)
}

// writePair writes both files or none. A key without its request would block the next attempt.
func writePair(keyFile string, key []byte, requestFile string, request []byte) error {
	if err := writeNewFile(keyFile, key, privateFile); err != nil {
		return err
	}
	if err := writeNewFile(requestFile, request, publicFile); err != nil {
		return errors.Join(err, os.Remove(keyFile))
	}
	return nil
}
