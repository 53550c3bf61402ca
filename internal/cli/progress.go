package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"k8s.io/utils/clock"

	"mtls.egress/webhook/internal/color"
)

// progressDelay is how long a command waits in silence.
const progressDelay = 2 * time.Second

// progress shows on a terminal what a command waits for. The zero value shows nothing.
type progress struct {
	out   io.Writer
	clock clock.WithTicker
}

// newProgress returns a progress that writes to out if that is a terminal of a user. A log of a CI
// system, a file and a pipe get nothing. For requests to the API server, use
// [connectionFlags.progress].
func newProgress(out io.Writer) progress {
	if !color.IsTerminal(out) || os.Getenv("TERM") == "dumb" || os.Getenv("CI") != "" {
		return progress{}
	}
	return progress{out: out, clock: clock.RealClock{}}
}

// wait shows what the command waits for, and how long already, once that takes longer than
// progressDelay. The caller calls done at the end, which removes the line, before it writes
// anything else.
func (p progress) wait(what string) (done func()) {
	if p.out == nil {
		return func() {}
	}
	begun := p.clock.Now()
	ticker := p.clock.NewTicker(time.Second)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		defer ticker.Stop()
		// The terminal may be gone: then nobody misses the line.
		const removeLine = "\r\x1b[K"
		for shown := false; ; {
			select {
			case <-ticker.C():
				if passed := p.clock.Since(begun); passed >= progressDelay {
					_, _ = fmt.Fprintf(p.out, "%s%s (%s)", removeLine, what, passed.Round(time.Second))
					shown = true
				}
			case <-stop:
				if shown {
					_, _ = io.WriteString(p.out, removeLine)
				}
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}
