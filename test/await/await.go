// Package await waits in tests for a state, and never for a time.
package await

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Patience is the limit of a wait in a test. It doesn't measure anything: what a test waits for
// takes milliseconds or seconds, or never happens.
const Patience = 3 * time.Minute

// The time between two attempts grows from firstInterval to lastInterval: what is soon there is
// soon seen, and a busy machine isn't asked too often.
const firstInterval, lastInterval = 20 * time.Millisecond, 100 * time.Millisecond

// T is the part of a test that Eventually needs.
type T interface {
	Helper()
	Context() context.Context
	Fatal(...any)
}

// Eventually calls try until it returns nil. After Patience, or if try returns a FinalError, it
// fails the test with what was waited for, if not empty, and the last error.
func Eventually(t T, what string, try func() error) {
	t.Helper()
	if err := Until(t.Context(), Patience, what, func(context.Context) error { return try() }); err != nil {
		t.Fatal(err)
	}
}

// True calls reached until it returns true. After Patience, it fails the test with what was waited
// for.
func True(t T, what string, reached func(context.Context) bool) {
	t.Helper()
	err := Until(t.Context(), Patience, what, func(ctx context.Context) error {
		if !reached(ctx) {
			return errNotReached
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

var errNotReached = errors.New("it is not the case")

// Until calls reached until it returns nil or a FinalError, but not longer than limit. The error
// contains what was waited for, if not empty, and the last error.
func Until(ctx context.Context, limit time.Duration, what string, reached func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if what != "" {
		what += ": "
	}
	for interval := firstInterval; ; interval = min(2*interval, lastInterval) {
		err := reached(ctx)
		if err == nil {
			return nil
		}
		if _, final := errors.AsType[FinalError](err); final {
			return fmt.Errorf("%s%w", what, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s%w; the last error: %w", what, context.Cause(ctx), err)
		case <-time.After(interval):
		}
	}
}

// FinalError is an error that ends a wait, because it can't go away.
type FinalError struct{ error }

// Final returns err as a FinalError.
func Final(err error) error { return FinalError{err} }

// Unwrap is part of errors.As.
func (e FinalError) Unwrap() error { return e.error }
