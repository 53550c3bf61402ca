package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// name is the name of the command, and the prefix of its Lease and user agent.
const name = "mtls-egress-webhook"

// NewRootCommand returns the root command. It doesn't print errors. The caller prints them and
// exits with ExitCode.
func NewRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   name,
		Short: "Mutual TLS to external hosts for annotated workloads of an Istio mesh",
		Long: `A workload with the annotation mtls.egress/target: HOST calls http://HOST. Its Istio sidecar turns
that into a mutual TLS call with the client certificate from a Secret. If any part is missing, the
call fails. It never leaves in plain text.`,
		Args:          arguments(noSuchCommand),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError(fmt.Errorf("%w; see %s --help", err, cmd.CommandPath()))
	})
	root.AddCommand(newRenderCommand(), newCheckCommand(), newAdoptCommand(), newExplainCommand(), newStatusCommand(),
		newGatewayCommand(), newCredentialCommand(), newServeCommand(), newAdmissionCheckCommand(),
		newUninstallCheckCommand(), newUninstallCleanupCommand(), newVersionCommand())
	addCompletion(root)
	return root
}

func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	// By default cobra makes no suggestions.
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("%s has no command %q; did you mean %s?", cmd.CommandPath(), args[0],
			strings.Join(near, " or "))
	}
	return fmt.Errorf("%s has no command %q; see %s --help", cmd.CommandPath(), args[0], cmd.CommandPath())
}
