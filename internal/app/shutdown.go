package app

import (
	"context"
	"errors"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

const (
	// MaxShutdownDelay is the maximum of Webhook.ShutdownDelay. Together with gracefulStop it is
	// below the termination grace period of 60 seconds in the chart.
	MaxShutdownDelay = 30 * time.Second
	// gracefulStop bounds the time for in-flight requests and reconciliations after the shutdown
	// delay.
	gracefulStop = 20 * time.Second
)

// errSecondSignal ends the process immediately.
var errSecondSignal = errors.New("stopped by a second signal before all requests were finished")

// drain records whether the process is shutting down. While draining, it still handles requests but
// asks clients to connect elsewhere.
type drain struct {
	begun atomic.Bool
}

// begin starts the drain. It can't be undone.
func (d *drain) begin() { d.begun.Store(true) }

// check is a readiness check that fails after begin.
func (d *drain) check(*http.Request) error {
	if d.begun.Load() {
		return errors.New("shutting down")
	}
	return nil
}

// handler serves next until the process ends.
//
// While draining, it closes the connection after each response. An API server keeps its connection
// to a replica open, even if the replica is no longer an endpoint of the Service. Requests that it
// sends when the replica stops would fail, and it doesn't retry a POST.
//
// A stopping server doesn't cancel in-flight requests. controller-runtime derives the context of a
// request from the server's, which is canceled before the server waits for requests. A client that
// disconnects still cancels its request.
func (d *drain) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if d.begun.Load() {
			w.Header().Set("Connection", "close")
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(request.Context()))
		defer cancel()
		defer context.AfterFunc(request.Context(), func() {
			if !d.begun.Load() {
				cancel()
			}
		})()
		next.ServeHTTP(w, request.WithContext(ctx))
	})
}

// runUntilSignal calls run and, on a signal, stops it in order. It calls begin immediately, cancels
// the context of run after delay, and returns the result of run. A second signal makes it return
// errSecondSignal immediately. If run ends without a signal, it returns the result of run.
func runUntilSignal(
	signals <-chan os.Signal,
	delay time.Duration,
	begin func(),
	run func(context.Context) error,
) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()

	select {
	case err := <-ended:
		return err
	case <-signals:
		begin()
	}
	select {
	case err := <-ended:
		return err
	case <-signals:
		return errSecondSignal
	case <-time.After(delay):
		cancel()
	}
	select {
	case err := <-ended:
		return err
	case <-signals:
		return errSecondSignal
	}
}
