package cli

import (
	"fmt"
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
	replaceCompletion(root, plugin)
	forEachCommand(root, func(command *cobra.Command) {
		command.Example, command.Long = rename.Replace(command.Example), rename.Replace(command.Long)
		run := command.RunE
		command.RunE = func(cmd *cobra.Command, args []string) error {
			err := run(cmd, args)
			if err != nil {
				err = &typedError{err, inTypedWords(cmd, err.Error())}
			}
			return err
		}
	})
	return root
}

// inTypedWords returns the text with the commands in it as the user types them: see [Typed].
func inTypedWords(cmd *cobra.Command, text string) string {
	root := cmd.Root()
	for _, command := range root.Commands() {
		text = strings.ReplaceAll(text, name+" "+command.Name(), root.DisplayName()+" "+command.Name())
	}
	return text
}

// typedError is an error whose text is that of [inTypedWords].
type typedError struct {
	error

	text string
}

func (e *typedError) Error() string { return e.text }

func (e *typedError) Unwrap() error { return e.error }

// replaceCompletion makes the command completion say how kubectl completes the plugin. A script for
// a shell would complete the program itself, which a user of the plugin doesn't call.
func replaceCompletion(root *cobra.Command, plugin string) {
	for _, command := range root.Commands() {
		if command.Name() == completionCommand {
			root.RemoveCommand(command)
		}
	}
	// https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/#support-for-shell-completion
	program := "kubectl_complete-" + plugin
	root.AddCommand(&cobra.Command{
		Use:    completionCommand,
		Hidden: true,
		Short:  "Say how kubectl completes this plugin",
		Long: `Kubectl completes this plugin with the program ` + program + `.
See docs/how-to/kubectl-plugin.md.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(*cobra.Command, []string) error {
			return fmt.Errorf("a plugin has no completion script of its own: kubectl completes it with the program %s; put "+
				"that into a folder of your PATH, as in docs/how-to/kubectl-plugin.md", program)
		},
	})
}

func forEachCommand(command *cobra.Command, do func(*cobra.Command)) {
	do(command)
	for _, child := range command.Commands() {
		forEachCommand(child, do)
	}
}
