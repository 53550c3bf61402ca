// Command figures writes what `make bench` measured into the tables of docs/performance.md:
//
//	go run ./test/perf/figures bin/bench.txt docs/performance.md
//
// It replaces what stands between the two markers and nothing else. When the results lack a figure, it names all that are
// missing and writes nothing.
package main

import (
	"errors"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: figures RESULTS DOCUMENT, as in: figures bin/bench.txt docs/performance.md")
	}
	raw, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	document, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	tables, err := tables(parse(string(raw)))
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	written, err := replace(string(document), tables)
	if err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	return os.WriteFile(args[1], []byte(written), 0o600)
}
