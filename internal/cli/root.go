package cli

import (
	"github.com/spf13/cobra"
)

// name is the name of the command, and the prefix of its Lease and user agent.
const name = "mtls-egress-webhook"

// NewRootCommand returns the root command. It doesn't print errors. The caller prints them and
// exits with ExitCode.
func NewRootCommand() *cobra.Command {
	showVersion := false
	root := &cobra.Command{
		Use:   name,
		Short: "Mutual TLS to external hosts for annotated workloads of an Istio mesh",
		Long: `A workload with the annotation mtls.egress/target: HOST calls http://HOST. Its
Istio sidecar turns that into a mutual TLS call with the client certificate from
a Secret. If any part is missing, the call fails. It never leaves in plain text.

Exit codes of all commands: 0 what was examined is fine; 1 it is not fine; 2 the
command could not do its work: invalid command line, unreadable input, or the
cluster doesn't answer.`,
		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if showVersion {
				return writeVersion(cmd.OutOrStdout(), outputText)
			}
			return cmd.Help()
		},
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.Flags().BoolVar(&showVersion, "version", false, "print the version, as the command version does")
	root.SetFlagErrorFunc(wrongFlag)
	addGroup(root, "Commands for targets, in the cluster or without one:", newExplainCommand(), newStatusCommand(),
		newCredentialCommand(), newCheckCommand(), newRenderCommand(), newAdoptCommand(), newGatewayCommand())
	addGroup(root, "Commands that the chart runs:", newServeCommand(), newAdmissionCheckCommand(),
		newUninstallCheckCommand(), newUninstallCleanupCommand())
	addGroup(root, "Other commands:", newCompletionCommand(), newHelpCommand(root), newVersionCommand())
	addHelp(root)
	addCompletion(root)
	addUsage(root)
	return root
}

// addGroup adds commands under a title of the help.
func addGroup(parent *cobra.Command, title string, commands ...*cobra.Command) {
	parent.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, command := range commands {
		command.GroupID = title
		parent.AddCommand(command)
	}
}
