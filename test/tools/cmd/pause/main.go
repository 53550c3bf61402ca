// Command pause holds the namespaces of a Pod, as the container of that name of Kubernetes does: it
// waits until it is told to end, and collects the orphaned processes of a Pod with
// shareProcessNamespace, whose process 1 it is.
//
// See https://github.com/kubernetes/kubernetes/blob/master/build/pause/linux/pause.c.
package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 1) // one is enough: each collects all children that have ended
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		collect()
	}
}

// collect takes note of every child that has ended, so that the kernel forgets it.
func collect() {
	for {
		child, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || child == 0 {
			return
		}
	}
}
