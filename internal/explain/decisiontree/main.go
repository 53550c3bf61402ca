// Command decisiontree writes the steps of the command explain, and their causes, into a document:
//
//	go run ./internal/explain/decisiontree docs/reference/explain.md [COPY.md]
//
// It replaces what is between the two markers and nothing else. With a second file, it writes there
// and leaves the document as it is.
package main

import (
	"errors"
	"fmt"
	"os"

	"mtls.egress/webhook/internal/explain"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "decisiontree:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(args []string) error {
	if len(args) != 1 && len(args) != 2 {
		return errors.New("usage: decisiontree DOCUMENT [COPY], as in: decisiontree docs/reference/explain.md")
	}
	document, err := os.ReadFile(args[0]) //nolint:gosec // the caller chooses the file
	if err != nil {
		return err
	}
	written, err := explain.ReplaceDecisionTree(string(document))
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return os.WriteFile(args[len(args)-1], []byte(written), 0o644) //nolint:gosec // the docs are public
}
