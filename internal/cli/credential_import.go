package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
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
		Use: "import (FILE --target HOST |\n" +
			"      --btp-destination FILE [FILE]) [--server-ca FILE|system] [flags]",
		Short: "Create a credential Secret from the file that a partner sent",
		Long: `Read the file that a partner sent, and print the Secret with its certificate,
its intermediates in order without the root, and its private key. FILE can be
  - PKCS#12 (.p12, .pfx), old or new, or a Java key store (.jks),
  - PEM with the key and the certificates in any order, with other text around
    them. The key can be encrypted,
  - a ZIP archive of such files. Nothing is unpacked to the disk.
FILE can be - for standard input. With --btp-destination, read an exported SAP
BTP destination of the type ClientCertificateAuthentication, and also print the
EgressTarget of its URL. It is the JSON of the destination service, or the text
that the cockpit exports. The text doesn't contain the key store, so pass that
too.

The CA of the server is required, because the key store doesn't contain it: the
chain in the key store leads to the issuer of the client certificate. Only a ZIP
archive can hold it, and then --server-ca can be the name of a file in it. If a
local file has the same name, write archive:NAME or ./NAME. With --server-ca
system, the Secret has no CA, and the output starts with a matching
EgressTarget. credential server-ca HOST shows which CA that is.

The command rejects what the controller would reject, with the same messages. It
prints doubts as warnings, and the next steps, to standard error. If a
kubeconfig names a cluster, it also rejects a Secret that another host uses
there, so that applying the manifest never overwrites another credential. It
doesn't print a private key to a terminal without --yes-print-key.

Exit codes: 0 done; 1 rejected, or the password is wrong; 2 invalid command line
or input. With 1 and 2, standard output is empty.`,
		Example: `  # Prompt for the password
  mtls-egress-webhook credential import keystore.p12 \
    --target external.system.com --server-ca server-ca.pem \
    | kubectl apply -f -

  # In a pipeline
  mtls-egress-webhook credential import keystore.p12 \
    --password-file password.txt --target external.system.com \
    --server-ca server-ca.pem --output-file secret.yaml

  # The key, the certificate and the CA of the server in one archive
  mtls-egress-webhook credential import partner.zip \
    --target external.system.com --output-file secret.yaml`,
		Args: optionalArgument("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runImport(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args, flags,
				time.Now())
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&flags.passwordFile, "password-file", "",
		"file with the password of the key store or key, or - for standard input; one trailing newline is removed (default: "+
			"the password in the destination, then a prompt on a terminal, then none)")
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
	err := wrongCommandLine(flags.validate(args), flags.refuseTerminal(out))
	if err := errors.Join(err, checkNewFile("--output-file", flags.outputFile)); err != nil {
		return err
	}
	if flags.btpDestination != "" {
		return importDestination(ctx, in, out, diagnostics, args, flags, now)
	}
	t, err := flags.resolve()
	if err != nil {
		return err
	}
	t, err = flags.finish(t)
	if err != nil {
		return err
	}
	content, err := readFile(in, args[0])
	if err != nil {
		return err
	}
	var imported secretContent
	if credential.IsArchive(content) {
		imported, err = flags.openArchive(in, diagnostics, sourceName(args[0]), content)
	} else {
		if flags.serverCA == "" {
			return wrongCommandLine(serverCAMissing(keyStoreChain))
		}
		imported.bundle, err = openKeyStore(in, diagnostics, sourceName(args[0]), content, flags.passwordFile)
	}
	if err != nil {
		return imported.failed(diagnostics, err)
	}
	return flags.write(ctx, in, out, diagnostics, t, imported, now)
}

// keyStoreChain is what users mistake for the CA of the server.
const keyStoreChain = "the chain in the key store"

// archivePrefix precedes the name of a file in the archive, as in archive:server-ca.pem.
const archivePrefix = "archive:"

// serverCAIn returns which file of an archive is the CA of the server, as [credential.ReadArchive]
// takes it. The name of a file in the archive is never preferred to that of a local file. Names in
// an archive don't start with ./ or /.
func (f *importFlags) serverCAIn(content []byte) (name string, err error) {
	name, isExplicit := strings.CutPrefix(f.serverCA, archivePrefix)
	isHeld := credential.ArchiveHolds(content, name)
	switch {
	case name == "" && !isExplicit:
		return "", nil
	case isExplicit && !isHeld:
		return "", fmt.Errorf("--server-ca %s: the archive holds no file %s; for a local file, write ./%[1]s",
			printable(f.serverCA), credential.Quote(name))
	case isExplicit:
		return name, nil
	case f.serverCA == systemCA, !isHeld:
		return credential.NotInArchive, nil
	}
	// Without the permission to look, the local file may exist.
	if info, err := os.Stat(name); err == nil && !info.IsDir() || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("--server-ca %s is the name of a file in the archive and of a local file: write "+
			"%[2]s%[1]s for the one in the archive, or ./%[1]s for the local one", printable(name), archivePrefix)
	}
	return name, nil
}

// openArchive reads a ZIP archive. With an error, the content holds the findings until then.
func (f *importFlags) openArchive(in io.Reader, prompt io.Writer, name string, content []byte) (secretContent, error) {
	serverCA, err := f.serverCAIn(content)
	if err != nil {
		return secretContent{}, err
	}
	password := ""
	if credential.ArchiveNeedsPassword(content) {
		read, err := readPassword(f.passwordFile, in, prompt, "Password of "+name+": ")
		if err != nil {
			return secretContent{}, err
		}
		password = read
	}
	parcel, err := inTime(readingLimit,
		func() (credential.Parcel, error) { return credential.ReadArchive(content, password, serverCA) })
	opened := secretContent{bundle: parcel.Bundle}
	switch {
	case err != nil:
		return opened, fmt.Errorf("%s: %w", name, err)
	case serverCA == credential.NotInArchive:
		return opened, nil
	case parcel.ServerCAFile == "":
		return opened, fmt.Errorf("%s: no file in the archive is the CA of the server alone: set --server-ca to "+
			"the name of a file in the archive or of another file, or to %s if a public CA signs the server certificate; "+
			"credential server-ca HOST shows which CA that is", name, systemCA)
	}
	opened.authorities = &parcel.ServerCA
	opened.note = fmt.Sprintf("Note: the CA of the server is from %s in the archive; compare each SHA-256 fingerprint "+
		"with what the partner gave you:\n", credential.Quote(parcel.ServerCAFile))
	for _, trusted := range parcel.ServerCA.Trusted() {
		opened.note += fmt.Sprintf("  %s  subject %s\n", trusted.Fingerprint, credential.Quote(trusted.Subject))
	}
	return opened, nil
}

func (f *importFlags) validate(args []string) error {
	var problems []error
	switch {
	case len(args) == 0 && f.btpDestination == "":
		problems = append(problems, errors.New("no input: pass the file that the partner sent, or --btp-destination FILE"))
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
	if f.serverCAPasswordFile == standardInput &&
		slices.Contains(append(args, f.btpDestination, f.passwordFile), standardInput) {
		problems = append(problems, errors.New("standard input can only be one of the files"))
	}
	chain := keyStoreChain
	if len(args) > 0 && f.btpDestination == "" {
		chain = "" // An archive can hold the CA of the server.
	}
	return wrongCommandLine(append(problems, f.secretFlags.validate(chain))...)
}

// openKeyStore reads the password only if content looks like a key store.
func openKeyStore(
	in io.Reader,
	prompt io.Writer,
	name string,
	content []byte,
	passwordFile string,
) (credential.Bundle, error) {
	password := ""
	if credential.NeedsPassword(content) {
		read, err := readPassword(passwordFile, in, prompt, "Password of "+name+": ")
		if err != nil {
			return credential.Bundle{}, err
		}
		password = read
	}
	return openWith(name, content, password)
}

// openWith reads a key store. With an error, the bundle has the findings until then.
func openWith(name string, content []byte, password string) (credential.Bundle, error) {
	bundle, err := inTime(readingLimit,
		func() (credential.Bundle, error) { return credential.ReadKeyStore(name, content, password) })
	if err != nil {
		return bundle, fmt.Errorf("%s: %w", name, err)
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
		return err
	}
	destination, err := credential.ReadDestination(content)
	if err != nil {
		return fmt.Errorf("%s: %w", sourceName(flags.btpDestination), err)
	}
	name, err := flags.addKeyStore(in, destination, args)
	if err != nil {
		return err
	}
	t, err := flags.finish(destination.Target(flags.namespace))
	if err != nil {
		return err
	}
	bundle, err := openDestination(in, diagnostics, name, destination, flags)
	if err != nil {
		return secretContent{bundle: bundle}.failed(diagnostics, err)
	}
	if err := writeNotes(diagnostics, destinationRemarks(destination, t)); err != nil {
		return err
	}
	return flags.write(ctx, in, out, diagnostics, t, secretContent{bundle: bundle, withTarget: true}, now)
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
		return openWith(name, destination.KeyStore, destination.Password)
	}
	return openKeyStore(in, prompt, name, destination.KeyStore, flags.passwordFile)
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
