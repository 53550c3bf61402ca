// Package cli is the command line: one file per subcommand, each a thin shell around the packages
// that do the work. Nothing in it ends the process; errors go up to main, and ExitCode says what
// they exit with.
package cli
