package cli

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"mtls.egress/webhook/test/golden"
)

// eachCommand runs a test for each command that users see, also the groups.
func eachCommand(t *testing.T, run func(t *testing.T, words []string, cmd *cobra.Command)) {
	t.Helper()
	root := NewRootCommand()
	root.InitDefaultHelpCmd()
	forEachCommand(root, func(cmd *cobra.Command) {
		words := strings.Fields(cmd.CommandPath())[1:]
		t.Run(strings.Join(append([]string{name}, words...), " "), func(t *testing.T) { run(t, words, cmd) })
	})
}

// isServer reports whether the command runs a server, which a user doesn't call.
func isServer(words []string) bool { return len(words) > 0 && words[0] == "serve" }

func TestHelpIsTheGoldenOneAndFitsTheTerminal(t *testing.T) {
	eachCommand(t, func(t *testing.T, words []string, cmd *cobra.Command) {
		stdout, stderr, err := execute(append(words, "--help")...)
		if err != nil || stderr != "" {
			t.Fatalf("error %v, standard error %q", err, stderr)
		}
		for line := range strings.Lines(stdout) {
			if width := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); width > helpColumns {
				t.Errorf("%d columns, want at most %d: %s", width, helpColumns, line)
			}
		}
		if cmd.Short == "" || cmd.Long == "" {
			t.Error("a description is missing")
		}
		if !cmd.HasSubCommands() && !isServer(words) && cmd.Example == "" {
			t.Error("an example is missing")
		}
		// component-base pads lines to the full width.
		got := regexp.MustCompile(` +\n`).ReplaceAllString(stdout, "\n")
		golden.Compare(t, filepath.Join("..", "..", "test", "testdata", "cli",
			strings.Join(append(words, "help.txt"), "-")), []byte(got))
	})
}

// exampleLines returns the command lines of this program in the examples of a command, without the
// pipes and redirections around them.
func exampleLines(cmd *cobra.Command) []string {
	var lines []string
	text := strings.ReplaceAll(cmd.Example, "\\\n", " ")
	for line := range strings.Lines(text) {
		for part := range strings.FieldsFuncSeq(line, func(r rune) bool { return strings.ContainsRune("|<>()\n", r) }) {
			if part = strings.Join(strings.Fields(part), " "); strings.HasPrefix(part, name+" ") {
				lines = append(lines, part)
			}
		}
	}
	return lines
}

func TestExamplesAreCommandLinesOfTheirCommand(t *testing.T) {
	eachCommand(t, func(t *testing.T, _ []string, cmd *cobra.Command) {
		for _, line := range exampleLines(cmd) {
			root := NewRootCommand()
			found, rest, err := root.Find(strings.Fields(line)[1:])
			if err != nil || found.CommandPath() != cmd.CommandPath() {
				t.Errorf("%s: this is the command %s, %v", line, found.CommandPath(), err)
				continue
			}
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%s: %v", line, err)
			}
			if err := found.ValidateArgs(found.Flags().Args()); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
		if len(exampleLines(cmd)) == 0 && cmd.Example != "" {
			t.Errorf("no command line in %q", cmd.Example)
		}
	})
}

func TestHelpCommand(t *testing.T) {
	tests := map[string]struct{ args, same []string }{
		"of everything":                {[]string{"help"}, []string{"--help"}},
		"of a command":                 {[]string{"help", "explain"}, []string{"explain", "--help"}},
		"of a command in a group":      {[]string{"help", "credential", "csr"}, []string{"credential", "csr", "--help"}},
		"of the root without anything": {nil, []string{"--help"}},
	}
	for sentence, test := range tests {
		t.Run(sentence, func(t *testing.T) {
			got, _, err := execute(test.args...)
			want, _, _ := execute(test.same...)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
	_, _, err := execute("help", "credential", "inspekt")
	want := `mtls-egress-webhook credential has no command "inspekt"; did you mean inspect?`
	if err == nil || !strings.HasPrefix(err.Error(), want) || ExitCode(err) != ExitUnable {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestCompletionOfEachShell(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		stdout, stderr, err := execute("completion", shell)
		if err != nil || stderr != "" || !strings.Contains(stdout, name) {
			t.Errorf("%s: error %v, standard error %q, %d bytes", shell, err, stderr, len(stdout))
		}
	}
	_, _, err := execute("completion", "tcsh")
	want := `mtls-egress-webhook completion knows no shell "tcsh": write bash, zsh, fish or powershell`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
