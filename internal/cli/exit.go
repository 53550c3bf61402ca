package cli

import (
	"errors"

	"mtls.egress/webhook/internal/certs/credential"
)

// The exit codes of every command.
const (
	// ExitFine means that the command did its work, and that what it examined is fine.
	ExitFine = 0
	// ExitNotFine means that the command did its work, and that what it examined is not fine: a rule
	// rejects it, a call fails, or the password is wrong.
	ExitNotFine = 1
	// ExitUnable means that the command could not do its work: an invalid command line, unreadable
	// input, a cluster that doesn't answer.
	ExitUnable = 2
)

// notFineError says what is wrong with what a command examined.
type notFineError struct{ error }

func (e *notFineError) Unwrap() error { return e.error }

// notFine makes err exit with ExitNotFine. It returns nil for nil.
func notFine(err error) error {
	if err == nil {
		return nil
	}
	return &notFineError{err}
}

// ExitCode returns the exit code for err: ExitFine for nil, ExitNotFine for a finding about what
// the command examined, and ExitUnable otherwise. A wrong password exits with ExitNotFine, so that
// a pipeline can tell it from a file that isn't a credential.
func ExitCode(err error) int {
	if err == nil {
		return ExitFine
	}
	_, found := errors.AsType[*notFineError](err)
	_, wrongPassword := errors.AsType[*credential.WrongPasswordError](err)
	if found || wrongPassword {
		return ExitNotFine
	}
	return ExitUnable
}
