//go:build !linux

package cli

// releaseProgramPages does nothing where it isn't known how.
func releaseProgramPages() error { return nil }
