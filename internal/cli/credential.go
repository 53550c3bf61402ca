package cli

import "github.com/spf13/cobra"

func newCredentialCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "credential",
		Short: "Create, inspect, verify and describe credential Secrets",
		Long: `A credential is the client certificate that a workload presents, its private
key, and the CA of the server certificate. These commands show which CA that is,
create the Secret with a credential, find problems in it, try it in a handshake
with the partner, and print what the partner must configure for it. They need no
cluster. inspect, describe and verify can read a Secret from one. import and
complete check whether they would overwrite one.

Passwords come from a file, standard input or a prompt, never from the command
line. A private key is written only as part of the requested Secret manifest, or
to a file that only you can read.`,
		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	addGroup(cmd, "Create:", newCredentialServerCACommand(), newCredentialImportCommand(), newCredentialCSRCommand(),
		newCredentialCompleteCommand())
	addGroup(cmd, "Examine:", newCredentialInspectCommand(), newCredentialVerifyCommand(), newCredentialDescribeCommand())
	return cmd
}
