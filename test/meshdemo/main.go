// Command meshdemo shows on a real mesh what one annotation does: a Kubernetes node with Istio, the
// chart installed by Helm, examples/egress as a user applies it, and a partner that demands client
// certificates and says what it saw. First the call, then the four things that make it safe. It
// ends and leaves nothing. With KEEP=1 in the environment it opens a shell at the end, in which
// kubectl talks to the cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"mtls.egress/webhook/test/cluster"
	"mtls.egress/webhook/test/story"
)

func main() { os.Exit(cluster.Isolate(tell)) }

// tell is the demo on a machine of its own. It returns the exit code.
func tell() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once; nothing outlives it
	var shell io.Reader
	if os.Getenv("KEEP") == "1" {
		shell = os.Stdin
	}
	if err := run(ctx, os.Stdout, shell); err != nil {
		fmt.Fprintln(os.Stderr, "meshdemo:", err)
		return 1
	}
	return 0
}

// run does everything and prints it to out. With a shell it hands it what to run at the end, as
// standard input.
func run(ctx context.Context, out io.Writer, shell io.Reader) (err error) {
	if reason := cluster.Unavailable(); reason != "" {
		return errors.New(reason)
	}
	d := &demo{Story: story.New(out)}
	defer func() { err = errors.Join(err, d.stop(context.WithoutCancel(ctx))) }() // also after Ctrl-C
	if err := d.play(ctx); err != nil {
		d.End()
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted: %w", err)
		}
		return err
	}
	if shell != nil {
		if err := d.keep(ctx, out, shell); err != nil {
			return err
		}
	}
	return d.Err()
}
