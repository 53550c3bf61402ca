// Command figures writes what `make bench` and `make bench-mesh` measured into the tables of
// docs/project/performance.md:
//
//	go run ./test/perf/figures bench bin/bench.txt docs/project/performance.md
//	go run ./test/perf/figures mesh bin/bench-mesh.txt docs/project/performance.md
//	go run ./test/perf/figures targets bin/bench-mesh.txt docs/project/performance.md
//
// It replaces what is between the two markers of the section and nothing else. When the results
// lack a figure, it names all that are missing and writes nothing.
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
	if len(args) != 3 {
		return errors.New("usage: figures SECTION RESULTS DOCUMENT, as in: " +
			"figures bench bin/bench.txt docs/project/performance.md")
	}
	section, ok := sections()[args[0]]
	if !ok {
		return fmt.Errorf("there is no section %q, only bench, mesh and targets", args[0])
	}
	args = args[1:]
	raw, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	document, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	tables, err := section.tables(parse(string(raw)))
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	written, err := section.Replace(string(document), tables)
	if err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	return os.WriteFile(args[1], []byte(written), 0o600)
}
