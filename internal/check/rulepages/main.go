// Command rulepages writes a page for each rule of check, and their index.
//
//	go run ./internal/check/rulepages EXAMPLES PAGES
//
// EXAMPLES has a folder for each rule, with bad.yaml and good.yaml. PAGES is a folder with nothing
// else.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "rulepages:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("got the arguments %q, want two: the folder of examples, and the folder of pages", args)
	}
	pages, err := pagesOf(args[0])
	if err != nil {
		return err
	}
	stale, err := filepath.Glob(filepath.Join(args[1], "*.md"))
	if err != nil {
		return err
	}
	for _, path := range stale {
		if _, wanted := pages[filepath.Base(path)]; !wanted {
			if err := os.Remove(path); err != nil { //nolint:gosec // the caller chooses the folder
				return err
			}
		}
	}
	if err := os.MkdirAll(args[1], 0o755); err != nil { //nolint:gosec // the pages are public
		return err
	}
	for name, content := range pages {
		text := strings.TrimRight(content, "\n") + "\n"
		if err := os.WriteFile(filepath.Join(args[1], name), []byte(text), 0o644); err != nil { //nolint:gosec // public
			return err
		}
	}
	return nil
}
