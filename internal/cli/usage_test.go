package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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

// Every command also adds the usage to what only the command itself can refuse.
func TestWhatACommandRefusesEndsWithItsUsage(t *testing.T) {
	wrong := map[string][]string{
		"explain":              {"no/such/subject"},
		"status":               {"-n", "A B"},
		"credential server-ca": {"https://external.system.com"},
		"credential import":    {"--target", "a b", "keystore.p12"},
		"credential csr":       {"localhost"},
		"credential complete":  nil,
		"credential inspect":   {"secret/A B"},
		"credential verify":    nil,
		"credential describe":  {"client.pem"},
		"check":                nil,
		"render":               {"-f", "-", "--other-targets=Perhaps"},
		"adopt":                nil,
		"gateway":              {"external.system.com"},
		"serve webhook":        {"--namespace=here", "--webhook-port=0"},
		"serve controller":     nil,
		"admission-check":      {"--target=localhost"},
		"uninstall-check":      {"--workloads=/nowhere"},
		"uninstall-cleanup":    {"--delete-secret=serving"},
	}
	// Cobra refuses all that these can't do, and completion takes nothing else.
	without := []string{"", "help", "version", "completion", "credential", "serve"}
	eachCommand(t, func(t *testing.T, words []string, _ *cobra.Command) {
		path := strings.Join(words, " ")
		args, listed := wrong[path]
		if listed == slices.Contains(without, path) {
			t.Fatal("the test has no command line for it, or one too many")
		}
		if !listed {
			return
		}
		stdout, stderr, err := execute(slices.Concat(words, args)...)
		if err == nil || ExitCode(err) != ExitUnable || stdout+stderr != "" {
			t.Fatalf("error %v, exit code %d, output %q", err, ExitCode(err), stdout+stderr)
		}
		usage := "\nUsage: " + name + " " + path
		message := err.Error()
		if strings.Count(message, usage) != 1 || !strings.HasSuffix(message, "\nSee "+name+" "+path+" --help") {
			t.Errorf("got %s\nwant it to end with the usage", message)
		}
	})
}

// Pflag reads -namespace as -n amespace.
func TestALongFlagWithOneHyphenIsRefused(t *testing.T) {
	eachCommand(t, func(t *testing.T, words []string, cmd *cobra.Command) {
		cmd.InheritedFlags() // adds those of the parents
		cmd.Flags().VisitAll(func(long *pflag.Flag) {
			short := cmd.Flags().ShorthandLookup(long.Name[:1])
			if short == nil || short.NoOptDefVal != "" {
				return // it is an unknown shorthand
			}
			for _, args := range [][]string{{"-" + long.Name, "x"}, {"-" + long.Name + "=x"}} {
				_, _, err := execute(slices.Concat(words, args)...)
				want := "-" + long.Name + " is read as -" + long.Name[:1] + " " + long.Name[1:] + ": write --" + long.Name + "\n"
				if err == nil || ExitCode(err) != ExitUnable || !strings.HasPrefix(err.Error(), want) {
					t.Errorf("%q: got %v, want %s", args, err, want)
				}
			}
		})
	})
	for _, args := range [][]string{{"check", "-nother", "-f", "/nowhere"}, {"check", "-f", "ilenames.yaml"}} {
		if _, _, err := execute(args...); err == nil || !strings.Contains(err.Error(), "does not exist") {
			t.Errorf("%q: got %v, want that the path does not exist", args, err)
		}
	}
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
