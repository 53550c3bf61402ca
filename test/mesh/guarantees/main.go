// Command guarantees writes what runs of test/mesh counted into the table of
// docs/project/guarantees.md:
//
//	go run ./test/mesh/guarantees bin/evidence.json bin/evidence-ipv6.json docs/project/guarantees.md
//
// It replaces what is between the two markers and nothing else. Rows that are no evidence are
// named, and nothing is written.
package main

import (
	"errors"
	"fmt"
	"os"

	"mtls.egress/webhook/test/mesh/evidence"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "guarantees:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: guarantees ROWS... DOCUMENT, as in: " +
			"guarantees bin/evidence.json docs/project/guarantees.md")
	}
	files, path := args[:len(args)-1], args[len(args)-1]
	var rows []evidence.Row
	for _, file := range files {
		read, err := evidence.ReadFile(file)
		if err != nil {
			return err
		}
		rows = append(rows, read...)
	}
	document, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	written, err := evidence.Replace(string(document), rows)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(written), 0o600)
}
