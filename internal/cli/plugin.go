package cli

import (
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// pluginPrefix starts the file names of kubectl plugins. kubectl mtls-egress runs
// kubectl-mtls_egress, because a hyphen separates subcommands.
// https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/#names-with-dashes-and-underscores
const pluginPrefix = "kubectl-"

// Typed makes the help, the examples and the messages of the command say what the user typed:
// kubectl mtls-egress, if program, the first argument of the process, is a kubectl plugin.
func Typed(root *cobra.Command, program string) *cobra.Command {
	plugin, isPlugin := strings.CutPrefix(strings.TrimSuffix(filepath.Base(program), ".exe"), pluginPrefix)
	if !isPlugin {
		return root
	}
	typed := "kubectl " + strings.ReplaceAll(plugin, "_", "-")
	root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: typed}
	rename := strings.NewReplacer(name+" ", typed+" ")
	forEachCommand(root, func(command *cobra.Command) {
		command.Example, command.Long = rename.Replace(command.Example), rename.Replace(command.Long)
	})
	return root
}

func forEachCommand(command *cobra.Command, do func(*cobra.Command)) {
	do(command)
	for _, child := range command.Commands() {
		forEachCommand(child, do)
	}
}
