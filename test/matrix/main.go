// Command matrix runs the tests on other versions and settings of Kubernetes and Istio than those
// that `make test` runs on, and writes the results into the table of
// docs/reference/compatibility.md:
//
//	go run ./test/matrix run [NAME...]   runs the tests on all combinations, or on those of the names
//	go run ./test/matrix current         fails unless the table has all, tested with today's product
//	go run ./test/matrix list            prints the names
//
// It runs in the project's directory. Each row is written as soon as its tests have passed, so an
// interrupted run loses only the combination that it was at. A combination whose tests fail keeps
// its former row, and the output of its tests is in bin/matrix.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const document = "docs/reference/compatibility.md"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) > 0 && args[0] == "run":
		return runAll(ctx, args[1:])
	case len(args) == 1 && args[0] == "current":
		return current(ctx)
	case len(args) == 1 && args[0] == "list":
		fmt.Println(strings.Join(namesOf(combinations()), "\n"))
		return nil
	}
	return errors.New("usage: go run ./test/matrix run [NAME...] | current | list")
}

// runAll runs the combinations of these names, one after the other, whatever fails.
func runAll(ctx context.Context, names []string) error {
	picked, err := chosen(names)
	if err != nil {
		return err
	}
	tested, err := commit(ctx)
	if err != nil {
		return err
	}
	var failures []error
	for i, c := range picked {
		begin := time.Now()
		fmt.Fprintf(os.Stderr, "[%d/%d] %s: running\n", i+1, len(picked), c.name)
		r, err := c.play(ctx)
		if err == nil {
			r.commit, r.date = tested, begin.UTC().Format(time.DateOnly)
			err = write(r)
		}
		took := time.Since(begin).Round(time.Second)
		if err != nil {
			failures = append(failures, fmt.Errorf("%s, after %s: %w", c.name, took, err))
			fmt.Fprintln(os.Stderr, failures[len(failures)-1])
			continue
		}
		fmt.Fprintf(os.Stderr, "[%d/%d] %s: %d tests passed in %s\n", i+1, len(picked), c.name, r.passed, took)
	}
	return errors.Join(failures...)
}

// write puts a row into the document.
func write(r row) error {
	content, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	written, err := replace(string(content), []row{r})
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	return os.WriteFile(document, []byte(written), 0o600)
}

// current fails unless the table is evidence for a release of the product in the folder.
func current(ctx context.Context) error {
	if err := committed(ctx); err != nil {
		return err
	}
	content, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	rows, err := read(string(content))
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	problems := missing(rows, func(commit string) (bool, error) { return sameProduct(ctx, commit) })
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("%s isn't current, so this commit can't be released. Run `make test-matrix`, "+
		"or `make test-matrix ON='NAME'` for one of these, and commit the table:\n  %s",
		document, strings.Join(problems, "\n  "))
}
