package cli

import (
	"errors"

	"github.com/spf13/cobra"
)

// The exit codes of every subcommand.
const (
	// ExitDone means that all was done.
	ExitDone = 0
	// ExitFailed means that a rule refused the input, or that the work failed.
	ExitFailed = 1
	// ExitUsage means that the command line was wrong or that its input could not be read.
	ExitUsage = 2
)

// exitError is an error that exits with another code than ExitFailed.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }

func (e *exitError) Unwrap() error { return e.err }

// usageError makes err exit with ExitUsage. It returns nil for nil.
func usageError(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code: ExitUsage, err: err}
}

// ExitCode returns what the process exits with after err: ExitDone for nil, ExitUsage for a wrong
// command line or unreadable input, ExitFailed for all else.
func ExitCode(err error) int {
	var withCode *exitError
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &withCode):
		return withCode.code
	default:
		return ExitFailed
	}
}

// arguments is validate with errors that exit with ExitUsage.
func arguments(validate cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error { return usageError(validate(cmd, args)) }
}
