// Package cli implements the command line. Each subcommand has its own file and is a thin shell
// around other packages. The package never ends the process. It returns errors to main, which exits
// with ExitCode.
package cli
