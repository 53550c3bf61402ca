// Command demo shows on a real API server what one annotation does: it starts one, installs the
// chart, runs webhook and controller beside it, makes the Secret, applies examples/egress, creates
// the Pod as a cluster would, and prints what became of it. Then it ends and leaves nothing. With
// KEEP=1 in the environment it stays until Ctrl-C, so that kubectl can be used.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"mtls.egress/webhook/test/story"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once; nothing outlives it
	err := run(ctx, os.Stdout, os.Getenv("KEEP") == "1")
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run does everything and prints it to out.
func run(ctx context.Context, out io.Writer, keep bool) (err error) {
	d := &demo{Story: story.New(out)}
	defer func() {
		if stopErr := d.stop(); err == nil {
			err = stopErr
		}
	}()
	if err := d.play(ctx); err != nil {
		d.End()
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted: %w", err)
		}
		return err
	}
	if keep {
		d.keep(ctx)
	}
	return d.Err()
}
