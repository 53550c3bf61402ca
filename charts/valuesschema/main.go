// Command valuesschema writes the JSON Schema of a chart's values from the comments in its
// values.yaml.
//
//	go run ./charts/valuesschema charts/mtls-egress-webhook/values.yaml \
//	  charts/mtls-egress-webhook/values.schema.json
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "valuesschema:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("got the arguments %q, want two: the values.yaml to read and the values.schema.json to write",
			args)
	}
	values, err := os.ReadFile(args[0]) //nolint:gosec // the caller chooses the file
	if err != nil {
		return err
	}
	schema, err := schemaOf(values)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return os.WriteFile(args[1], schema, 0o644) //nolint:gosec // the chart is public
}
