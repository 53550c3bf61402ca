package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// name is the name of the command, of its Lease and of the user agent.
const name = "mtls-egress-webhook"

// NewRootCommand returns the command with all its subcommands. It prints no errors: its caller
// does, and exits with ExitCode.
func NewRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   name,
		Short: "Mutual TLS to external hosts for annotated workloads of an Istio mesh",
		Long: `A workload that is annotated with mtls.egress/target: HOST calls http://HOST, and its Istio sidecar makes of it a call over
mutual TLS with the client certificate from a Secret. If any part is missing, the call fails; it never leaves in plain text.`,
		Args:          arguments(noSuchCommand),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError(fmt.Errorf("%w; see %s --help", err, cmd.CommandPath()))
	})
	root.AddCommand(newServeCommand(), newRenderCommand(), newCredentialCommand(), newAdmissionCheckCommand(), newUninstallCheckCommand(), newUninstallCleanupCommand(), newVersionCommand())
	return root
}

func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	// Cobra suggests nothing unless it is told how far a name may be off.
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("%s has no command %q; did you mean %s?", cmd.CommandPath(), args[0], strings.Join(near, " or "))
	}
	return fmt.Errorf("%s has no command %q; see %s --help", cmd.CommandPath(), args[0], cmd.CommandPath())
}
