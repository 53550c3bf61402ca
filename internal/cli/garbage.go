package cli

import (
	"os"
	"runtime/debug"
)

// collectLess makes a command that ends soon collect garbage when the heap is five times as large
// as what is in use, instead of twice. For 1,000 Deployments, a third of the processor time was
// spent on collecting it. GOGC, if set, applies
// (https://pkg.go.dev/runtime#hdr-Environment_Variables).
func collectLess() {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(400)
	}
}
