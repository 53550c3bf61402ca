// The webhook command: see mtls-egress-webhook --help.
package main

import (
	"fmt"
	"os"

	"mtls.egress/webhook/internal/cli"
)

func main() {
	err := cli.Typed(cli.NewRootCommand(), os.Args[0]).Execute()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", cli.Message(err))
	}
	os.Exit(cli.ExitCode(err))
}
