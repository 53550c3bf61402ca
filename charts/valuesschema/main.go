// Command valuesschema writes the JSON Schema of a chart's values. The descriptions and types come
// from values.yaml, and what else the values can be from the file of constraints.
//
//	go run ./charts/valuesschema CHART VALUES.schema.json
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// The files of a chart that the schema comes from.
const (
	valuesFile      = "values.yaml"
	constraintsFile = "values.constraints.yaml"
	// hintsFile holds the names that users expect from other charts. The templates read it too.
	hintsFile = "files/hints.yaml"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "valuesschema:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("got the arguments %q, want two: the folder of the chart and the values.schema.json to write",
			args)
	}
	var in sources
	for file, content := range map[string]*[]byte{
		valuesFile: &in.values, constraintsFile: &in.constraints, hintsFile: &in.hints,
	} {
		var err error
		*content, err = os.ReadFile(filepath.Join(args[0], filepath.FromSlash(file))) //nolint:gosec // the caller chooses
		if err != nil {
			return err
		}
	}
	schema, err := schemaOf(in)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return os.WriteFile(args[1], schema, 0o644) //nolint:gosec // the chart is public
}
