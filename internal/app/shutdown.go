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
	// MaxShutdownDelay is the longest Webhook.ShutdownDelay. With gracefulStop it stays below the 60
	// seconds that the chart gives a Pod to stop.
	MaxShutdownDelay = 30 * time.Second
	// gracefulStop is how long requests and reconciliations under way may take after the shutdown
	// delay.
	gracefulStop = 20 * time.Second
)

// errSecondSignal ends the process without waiting for anything.
var errSecondSignal = errors.New("stopped by a second signal, before all requests were answered")

// drain is whether the process is about to stop. It still answers then, but asks everybody to go
// elsewhere.
type drain struct {
	begun atomic.Bool
}

// begin starts the drain. There is no way back.
func (d *drain) begin() { d.begun.Store(true) }

// check is a readiness check that fails from begin on.
func (d *drain) check(*http.Request) error {
	if d.begun.Load() {
		return errors.New("shutting down")
	}
	return nil
}

// handler serves next until the very end:
//   - While draining it closes the connection after each answer. An API server keeps its connection
//     to a replica open, also when the replica is no endpoint of the Service any more; what it
//     sends when the replica stops would fail, and a POST is not repeated.
//   - The end of the server does not cancel a request under way. controller-runtime derives the
//     context of a request from the server's, which ends before requests are waited for. A client
//     that goes away cancels its request, as usual.
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

// runUntilSignal runs run until a signal, and then stops it in order: begin is called at once, the
// context of run ends after delay, and what run returns is returned. A second signal ends it at
// once with errSecondSignal. When run ends by itself, what it returns is returned.
func runUntilSignal(signals <-chan os.Signal, delay time.Duration, begin func(), run func(context.Context) error) error {
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
