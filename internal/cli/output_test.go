package cli

import (
	"bytes"
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/internal/check/report"
	"mtls.egress/webhook/internal/explain"
)

func TestEveryOutputIsDeclaredInOneWay(t *testing.T) {
	eachCommand(t, func(t *testing.T, _ []string, cmd *cobra.Command) {
		flag := cmd.Flags().Lookup("output")
		if flag == nil {
			return
		}
		value, ok := flag.Value.(*outputValue)
		if !ok || flag.Shorthand != "o" {
			t.Fatalf("it is declared without addOutput: %+v", flag)
		}
		if _, found := cmd.GetFlagCompletionFunc("output"); !found {
			t.Error("it has no completion")
		}
		names := value.names
		if flag.DefValue != names[0] {
			t.Errorf("the default is %s, want the first of %s", flag.DefValue, names)
		}
		if !slices.Contains(names, outputJSON) || !slices.Contains(names, outputYAML) {
			t.Errorf("json or yaml is missing in %s", names)
		}
		for _, format := range names {
			if !strings.Contains(flag.Usage, format) {
				t.Errorf("the help lacks %s: %s", format, flag.Usage)
			}
			if err := flag.Value.Set(format); err != nil {
				t.Error(err)
			}
		}
		if err := flag.Value.Set("xml"); err == nil || err.Error() != "the output is "+orList(names) {
			t.Errorf("-o xml: %v", err)
		}
	})
}

func TestCheckDeclaresTheFormatsOfItsReport(t *testing.T) {
	value, ok := newCheckCommand().Flags().Lookup("output").Value.(*outputValue)
	if !ok {
		t.Fatal("check has no output")
	}
	want, got := slices.Sorted(maps.Keys(report.Formats())), slices.Sorted(slices.Values(value.names))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-report +flag):\n%s", diff)
	}
}

// The formats json and yaml of a command hold the same, and never a private key.
func TestJSONAndYAMLHoldTheSame(t *testing.T) {
	tests := map[string][]string{
		"version":            {"version"},
		"check":              {"check", "-f", filepath.Join("..", "..", "examples", "egress")},
		"adopt":              {"adopt", "-f", filepath.Join(adoptSets, "seed.yaml")},
		"render":             {"render", "-f", filepath.Join("..", "..", "examples", "egress")},
		"gateway":            {"gateway", "api.partner.example", "-n", "istio-egress"},
		"credential inspect": {"credential", "inspect", exampleOf("client.pem")},
		"credential csr":     {"credential", "csr", "external.system.com", "--subject", "CN=orders", "--dns", "a.example"},
	}
	for sentence, args := range tests {
		t.Run(sentence, func(t *testing.T) {
			want := outputOf(t, args, outputJSON)
			if diff := cmp.Diff(want, outputOf(t, args, outputYAML)); diff != "" {
				t.Errorf("(-json +yaml):\n%s", diff)
			}
		})
	}
}

// A parser of JSON fails on nothing.
func TestJSONOfNothingFoundIsJSON(t *testing.T) {
	printed := func(encoded []byte, err error) (string, error) { return string(encoded), err }
	run := func(stdin string, args ...string) func() (string, error) {
		return func() (string, error) {
			stdout, _, err := executeWith(stdin, args...)
			return stdout, err
		}
	}
	tests := map[string]func() (string, error){
		"adopt":         run("", "adopt", "-f", "-", "-o", "json"),
		"check":         run("", "check", "-f", "-", "-o", "json"),
		"check, sarif":  run("", "check", "-f", "-", "-o", "sarif"),
		"check, gitlab": run("", "check", "-f", "-", "-o", "gitlab"),
		"render":        run("", "render", "-f", "-", "-o", "json"),
		"explain": func() (string, error) {
			var out bytes.Buffer
			err := writeReports(&out, []explain.Report{}, outputJSON, nil)
			return out.String(), err
		},
		"status": func() (string, error) {
			found, err := readSurvey(t.Context(), adoptionOf(t, handSidecar()), nil)
			if err != nil {
				return "", err
			}
			return printed(encodeResult(found, outputJSON, nil))
		},
		"uninstall-check": func() (string, error) { return printed(encodeResult(userLines(nil), outputJSON, nil)) },
	}
	// These print the one thing that they are asked for, or fail.
	always := []string{"gateway", "version"}
	eachCommand(t, func(t *testing.T, words []string, cmd *cobra.Command) {
		path := strings.Join(words, " ")
		if cmd.Flags().Lookup("output") != nil && tests[path] == nil && words[0] != "credential" &&
			!slices.Contains(always, path) {
			t.Error("the test doesn't run it")
		}
	})
	for sentence, run := range tests {
		t.Run(sentence, func(t *testing.T) {
			stdout, err := run()
			var value any
			parsed := json.Unmarshal([]byte(stdout), &value)
			if err != nil || parsed != nil || strings.Contains(stdout, "null") {
				t.Errorf("error %v, %v, output %q", err, parsed, stdout)
			}
		})
	}
}

// outputOf returns what a command prints in a format, as JSON values. The documents of a YAML
// stream count as the items of a List.
func outputOf(t *testing.T, args []string, format string) any {
	t.Helper()
	if slices.Contains(args, "csr") {
		t.Chdir(t.TempDir()) // it writes two files
	}
	stdout, _, err := execute(append(slices.Clone(args), "-o", format)...)
	if ExitCode(err) == ExitUnable {
		t.Fatal(err)
	}
	if strings.Contains(stdout, "PRIVATE KEY") {
		t.Errorf("a private key is in %s", stdout)
	}
	if format == outputJSON {
		var value any
		if err := json.Unmarshal([]byte(stdout), &value); err != nil {
			t.Fatalf("%v: %s", err, stdout)
		}
		if list, ok := value.(map[string]any); ok && list["kind"] == "List" {
			return list["items"]
		}
		return value
	}
	var documents []any
	for document := range strings.SplitSeq(stdout, "\n---\n") {
		var value any
		if err := yaml.Unmarshal([]byte(document), &value); err != nil {
			t.Fatalf("%v: %s", err, document)
		}
		documents = append(documents, value)
	}
	if object, ok := documents[0].(map[string]any); ok && object["apiVersion"] == nil {
		return documents[0]
	}
	return documents
}

func TestOrList(t *testing.T) {
	for want, words := range map[string][]string{"a": {"a"}, "a or b": {"a", "b"}, "a, b or c": {"a", "b", "c"}} {
		if got := orList(words); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
