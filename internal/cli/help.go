package cli

import (
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"
)

// helpColumns is the width of the help output: that of the narrowest usual terminal. It is fixed,
// so that files and tests match terminals.
const helpColumns = 80

// keepOrder makes cobra list commands in the order in which they are added: the most used first.
//
//nolint:gochecknoglobals // cobra's setting is global
var keepOrder = sync.OnceFunc(func() { cobra.EnableCommandSorting = false })

// addHelp makes the help of root and its commands fit helpColumns.
func addHelp(root *cobra.Command) {
	keepOrder()
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetUsageTemplate(strings.NewReplacer(
		".FlagUsages", ".FlagUsagesWrapped "+strconv.Itoa(helpColumns),
		"[command]", "COMMAND",
		`Use "{{.CommandPath}} [command] --help" for more information about a command.`,
		"See {{.CommandPath}} COMMAND --help for more.",
	).Replace(root.UsageTemplate()))
}

// newHelpCommand returns the command help of root.
func newHelpCommand(root *cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "help [COMMAND]...",
		Short: "Print the help of a command",
		Long:  "Print the help of a command, as COMMAND --help does.",
		Example: `  mtls-egress-webhook help explain
  mtls-egress-webhook help credential import`,
		RunE: func(_ *cobra.Command, words []string) error {
			about := root
			for len(words) > 0 {
				next, _, err := about.Find(words[:1])
				if err != nil || next == about {
					return noSuchCommand(about, words[:1])
				}
				about, words = next, words[1:]
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
		ValidArgsFunction: func(_ *cobra.Command, words []string, _ string) ([]string, cobra.ShellCompDirective) {
			about, _, err := root.Find(words)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []cobra.Completion
			for _, command := range about.Commands() {
				names = append(names, cobra.CompletionWithDesc(command.Name(), command.Short))
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	root.SetHelpCommand(cmd)
	return cmd
}

// completionCommand is the name of the command that prints the completion of a shell.
const completionCommand = "completion"

// newCompletionCommand returns the command that prints the completion of a shell.
func newCompletionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   completionCommand + " (" + strings.Join(shells, " | ") + ")",
		Short: "Print the completion script of a shell",
		Long: `Print a script with which the shell completes commands, flags, and the names of
objects in the cluster. Bash needs the package bash-completion, and zsh needs
compinit in ~/.zshrc.`,
		Example: `  # In this shell
  source <(mtls-egress-webhook completion bash)

  # In each new one
  mtls-egress-webhook completion bash \
    > /etc/bash_completion.d/mtls-egress-webhook
  mtls-egress-webhook completion zsh > "${fpath[1]}/_mtls-egress-webhook"
  mtls-egress-webhook completion fish \
    > ~/.config/fish/completions/mtls-egress-webhook.fish`,
		ValidArgs: shells,
		Args:      oneArgument(orList(shells)),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(out)
			}
			return wrongUsage(cmd, cmd.CommandPath()+" knows no shell "+strconv.Quote(args[0])+": write "+orList(shells))
		},
	}
}
