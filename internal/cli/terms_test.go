package cli

import (
	"context"
	"errors"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
)

func TestAControllerThatEndsIsStartedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begun := time.Now()
		var at []time.Duration
		last := errors.New("said at the end")
		candidate := &terms{pause: time.Second, log: logr.Discard(), run: func(ctx context.Context) error {
			at = append(at, time.Since(begun))
			if len(at) < 3 {
				return errors.New("leader election lost")
			}
			<-ctx.Done()
			return last
		}}
		ended := make(chan error, 1)
		go func() { ended <- candidate.Start(ctx) }()
		time.Sleep(time.Minute)
		cancel()
		if err := <-ended; !errors.Is(err, last) {
			t.Errorf("error %v, want that of the last term", err)
		}
		if len(at) != 3 || at[2] != 2*time.Second {
			t.Errorf("the terms began after %v, want three, a second apart", at)
		}
	})
}

func TestACandidateThatWaitsForItsNextTermStopsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		candidate := &terms{pause: time.Hour, log: logr.Discard(), run: func(context.Context) error { return errors.New("leader election lost") }}
		ended := make(chan error, 1)
		go func() { ended <- candidate.Start(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("error %v", err)
		}
	})
}

func TestTheNextTermRegistersTheSameMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	for range 2 {
		registered := &registrations{Registerer: registry}
		if err := registered.Register(prometheus.NewGauge(prometheus.GaugeOpts{Name: "metric", Help: "A metric."})); err != nil {
			t.Fatal(err)
		}
		registered.end()
	}
}

func TestOnlyALeaderSparesMemory(t *testing.T) {
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(77)
	defer debug.SetGCPercent(before)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		spareMemory(ctx)
		if got := debug.SetGCPercent(leaderGCPercent); got != leaderGCPercent {
			t.Errorf("GOGC is %d in the leader, want %d", got, leaderGCPercent)
		}
		cancel()
		synctest.Wait()
		if got := debug.SetGCPercent(77); got != 77 {
			t.Errorf("GOGC is %d after its term, want what it was before", got)
		}
	})
	t.Setenv("GOGC", "50")
	spareMemory(t.Context())
	if got := debug.SetGCPercent(77); got != 77 {
		t.Errorf("GOGC is %d, though the environment says it", got)
	}
}
