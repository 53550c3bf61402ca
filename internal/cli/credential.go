package cli

import "github.com/spf13/cobra"

func newCredentialCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "credential",
		Short: "Make a credential Secret of what a partner sent, look into one, and tell the partner of it",
		Long: `A credential is the client certificate that a workload presents, its private key, and the CA that signs the certificate of the
server. These commands make the Secret that holds it, say what is wrong with one, and what the partner has to configure for it. They need
no cluster; inspect and describe can read a Secret in one, import and complete look whether they would overwrite one.

Passwords come from a file, standard input or a prompt, never from the command line. A private key is written only as part of the
Secret manifest that was asked for, or into a file that nobody else can read.`,
		Args: arguments(noSuchCommand),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCredentialImportCommand(), newCredentialCSRCommand(), newCredentialCompleteCommand(), newCredentialInspectCommand(), newCredentialDescribeCommand())
	return cmd
}
