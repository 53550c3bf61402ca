package cli

import (
	"math"
	"runtime"
	"runtime/debug"
)

// leaveRoom lowers the limit in GOMEMLIMIT, which the chart takes from the limit of the container, to six tenths. Go's runtime lets garbage grow up to its limit
// before it collects harder, and counts only what it manages itself, not the pages of the program: with the whole limit the kernel would end the process first.
// https://go.dev/doc/gc-guide#Memory_limit advises to leave some room.
func leaveRoom() {
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		debug.SetMemoryLimit(limit / 10 * 6)
	}
}

// neverProfile saves the table of a memory profile. Go's runtime samples allocations in every program that links net/http/pprof, as controller-runtime does, and nobody can ask
// for the profile.
func neverProfile() { runtime.MemProfileRate = 0 }
