package cli

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// The formats that several commands have.
const (
	outputText = "text"
	outputWide = "wide"
	outputYAML = "yaml"
	outputJSON = "json"
)

// outputValue is the value of -o. Only the formats of the command can be set.
type outputValue struct {
	format *string
	// names are the names of the formats.
	names []string
}

// addOutput declares -o, and completes it. formats are those of the command, the default first,
// each optionally with a description in parentheses, as in "github (workflow commands)".
func addOutput(cmd *cobra.Command, format *string, formats ...string) {
	value := &outputValue{format: format}
	var completions []cobra.Completion
	for _, each := range formats {
		name, about, _ := strings.Cut(each, " ")
		value.names = append(value.names, name)
		completions = append(completions, cobra.CompletionWithDesc(name, strings.Trim(about, "()")))
	}
	*format = value.names[0]
	cmd.Flags().VarP(value, "output", "o", "the output format: "+orList(formats))
	complete(cmd, "output", cobra.FixedCompletions(completions, cobra.ShellCompDirectiveNoFileComp))
}

func (v *outputValue) String() string { return *v.format }

// Type is what the help shows as the value.
func (v *outputValue) Type() string { return "string" }

func (v *outputValue) Set(text string) error {
	if slices.Contains(v.names, text) {
		*v.format = text
		return nil
	}
	return errors.New("the output is " + orList(v.names))
}

// orList joins words for a sentence, as in a, b or c.
func orList(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// encodeResult returns what a command prints: result as JSON or YAML, or text.
func encodeResult(result any, output string, text func() string) ([]byte, error) {
	switch output {
	case outputJSON:
		encoded, err := json.MarshalIndent(result, "", "    ")
		return append(printableJSON(encoded), '\n'), err
	case outputYAML:
		encoded, err := yaml.Marshal(result)
		return []byte(printable(string(encoded))), err
	}
	return []byte(text()), nil
}
