package docs

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"mtls.egress/webhook/internal/cli"
)

// leaves returns the commands that aren't groups, in the order of the help.
func leaves(cmd *cobra.Command) []*cobra.Command {
	if !cmd.HasSubCommands() {
		return []*cobra.Command{cmd}
	}
	var found []*cobra.Command
	for _, child := range cmd.Commands() {
		found = append(found, leaves(child)...)
	}
	return found
}

func TestTheTableOfCommandsIsThatOfTheHelp(t *testing.T) {
	content, err := os.ReadFile(root + "/docs/reference/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for line := range strings.Lines(string(content)) {
		if name, _, found := strings.Cut(strings.TrimPrefix(line, "| `"), "` |"); found && strings.HasPrefix(line, "| `") {
			listed[name] = strings.TrimSpace(line)
		}
	}
	want := map[string]string{}
	for _, command := range leaves(cli.NewRootCommand()) {
		_, path, _ := strings.Cut(command.CommandPath(), " ")
		formats := ""
		if flag := command.Flags().Lookup("output"); flag != nil {
			formats = strings.TrimPrefix(flag.Usage, "the output format: ") + " "
		}
		want[path] = fmt.Sprintf("| `%s` | %s | %s|", path, command.Short, formats)
	}
	if diff := cmp.Diff(want, listed); diff != "" {
		t.Errorf("(-help +table):\n%s", diff)
	}
}

// What a user copies from the help is what the documents explain.
func TestExamplesOfTheHelpAreInTheDocuments(t *testing.T) {
	var text strings.Builder
	for _, path := range documents(t) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(content)
	}
	// The documents run the commands on the files of this project.
	shortened := strings.NewReplacer("examples/credential/", "", "kubectl mtls-egress ", "mtls-egress-webhook ")
	documented := oneLineEach(shortened.Replace(text.String()))
	for _, command := range leaves(cli.NewRootCommand()) {
		for line := range strings.Lines(oneLineEach(command.Example)) {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if example, _, _ := strings.Cut(line, " | kubectl apply"); !strings.Contains(documented, example) {
				t.Errorf("%s: no document has the example %s", command.CommandPath(), example)
			}
		}
	}
}

// oneLineEach joins lines that end in a backslash, and the spaces between words.
func oneLineEach(text string) string {
	var lines []string
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\\\n", " "), "\n") {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}
