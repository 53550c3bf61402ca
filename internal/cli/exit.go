package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"mtls.egress/webhook/internal/certs/credential"
)

// The exit codes of every subcommand.
const (
	// ExitDone means success.
	ExitDone = 0
	// ExitFailed means that a rule rejected the input, or that the operation failed.
	ExitFailed = 1
	// ExitUsage means an invalid command line or unreadable input.
	ExitUsage = 2
)

// exitError is an error with an exit code other than ExitFailed.
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

// inputError is [usageError] for an error of a file. A wrong password exits with ExitFailed, so
// that a pipeline can tell it from a file that isn't a credential.
func inputError(err error) error {
	if _, wrong := errors.AsType[*credential.WrongPasswordError](err); wrong {
		return err
	}
	return usageError(err)
}

// ExitCode returns the exit code for err: ExitDone for nil, ExitUsage for an invalid command line
// or unreadable input, and ExitFailed otherwise.
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

// arguments wraps validate so that its errors exit with ExitUsage.
func arguments(validate cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error { return usageError(validate(cmd, args)) }
}
