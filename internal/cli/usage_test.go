package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command refuses a wrong command line in the same way.
func TestAWrongCommandLineIsExplained(t *testing.T) {
	eachCommand(t, func(t *testing.T, words []string, cmd *cobra.Command) {
		path := strings.TrimSpace(name + " " + strings.Join(words, " "))
		tests := map[string]struct {
			args []string
			want string
		}{
			"an unknown flag":      {[]string{"--nonsense"}, path + " has no flag --nonsense\n"},
			"an unknown shorthand": {[]string{"-Z"}, path + " has no flag -Z\n"},
			"a flag without a name": {
				[]string{"--=x"}, `"--=x" is not a flag: write --NAME or --NAME=VALUE` + "\n",
			},
		}
		add := func(sentence, want string, args ...string) {
			tests[sentence] = struct {
				args []string
				want string
			}{args, want}
		}
		if flag := cmd.Flags().Lookup("output"); flag != nil {
			add("a format that it lacks", "-o xml: the output is ", "-o", "xml")
			add("a misspelled flag", path+" has no flag --outptu; did you mean --output?\n", "--outptu=json")
			add("a flag with one hyphen", path+" has no flag -u (in -utput); did you mean --output?\n", "-utput")
			add("a flag without its value", "--output needs a value: the output format: ", "-o")
		}
		if cmd.Flags().Lookup("timeout") != nil {
			add("a number without a unit", `--timeout: "5" is not a duration; write it as in --timeout=90s`+"\n", "--timeout=5")
		}
		switch {
		case cmd.HasSubCommands():
			add("an unknown command", path+` has no command "nonsense"`+"\n", "nonsense")
		case cmd.Name() == "adopt", cmd.Name() == "help":
			// Both take any number of arguments.
		default:
			add("too many arguments", path+" takes ", "a", "b")
		}
		for sentence, test := range tests {
			t.Run(sentence, func(t *testing.T) {
				stdout, stderr, err := execute(slices.Concat(words, test.args)...)
				if err == nil || ExitCode(err) != ExitUnable || stdout+stderr != "" {
					t.Fatalf("error %v, exit code %d, output %q", err, ExitCode(err), stdout+stderr)
				}
				message := err.Error()
				if end := "\nSee " + path + " --help"; !strings.HasPrefix(message, test.want) ||
					!strings.Contains(message, "\nUsage: "+path) || !strings.HasSuffix(message, end) {
					t.Errorf("got %s\nwant it to begin with %s, and then the usage", message, test.want)
				}
			})
		}
	})
}

func TestNearFlagsAreSuggested(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"a missing letter":    {[]string{"check", "--filenam=x"}, "has no flag --filenam; did you mean --filename?"},
		"two letters swapped": {[]string{"status", "--namepsace=x"}, "has no flag --namepsace; did you mean --namespace?"},
		"the beginning of several": {
			[]string{"credential", "import", "--output-f=x"}, "has no flag --output-f; did you mean --output-file?",
		},
		"one hyphen instead of two": {
			[]string{"check", "-live"}, "has no flag -l (in -live); did you mean --live?",
		},
		"nothing near": {[]string{"version", "--color=x"}, "has no flag --color\n"},
	}
	for sentence, test := range tests {
		t.Run(sentence, func(t *testing.T) {
			_, _, err := execute(test.args...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// A command that can't reach its cluster could not do its work.
func TestWithoutAClusterCommandsExitWith2(t *testing.T) {
	kubeconfig := clusterAt(t, "http://127.0.0.1:1") // nothing answers there
	commands := map[string][]string{
		"adopt":               {"--live", "-n", "project"},
		"check":               {"--live", "-n", "project"},
		"explain":             {"deploy/shop", "-n", "project"},
		"status":              {"-n", "project"},
		"admission-check":     {"--timeout=1s"},
		"uninstall-check":     nil,
		"uninstall-cleanup":   {"--timeout=1s"},
		"credential inspect":  {"secret/shop"},
		"credential describe": {"--for-partner", "secret/shop"},
		"credential verify":   {"egt/external.system.com"},
	}
	// These work without a cluster.
	offline := []string{"credential import", "credential complete"}
	eachCommand(t, func(t *testing.T, words []string, cmd *cobra.Command) {
		path := strings.Join(words, " ")
		if cmd.Flags().Lookup("kubeconfig") == nil || isServer(words) || slices.Contains(offline, path) {
			return
		}
		args, listed := commands[path]
		if !listed {
			t.Fatal("the test has no command line for it")
		}
		stdout, _, err := execute(slices.Concat(words, args, []string{"--kubeconfig", kubeconfig})...)
		if err == nil || ExitCode(err) != ExitUnable || stdout != "" {
			t.Errorf("error %v, exit code %d, output %q", err, ExitCode(err), stdout)
		}
	})
}
