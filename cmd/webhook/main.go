// The webhook command: see mtls-egress-webhook --help.
package main

import (
	"os"

	"mtls.egress/webhook/internal/cli"
)

func main() {
	err := cli.Typed(cli.NewRootCommand(), os.Args[0]).Execute()
	if err != nil {
		cli.WriteError(os.Stderr, err)
	}
	os.Exit(cli.ExitCode(err))
}
