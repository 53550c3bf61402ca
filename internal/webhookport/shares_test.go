package webhookport

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestOneSourceLeavesHalfToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShares(10)
		ctx, cancel := context.WithCancel(t.Context())
		var releases []func()
		for range 5 {
			release, err := s.take(ctx, "greedy", 1)
			if err != nil {
				t.Fatal(err)
			}
			releases = append(releases, release)
		}
		waiting := make(chan error, 100)
		for range cap(waiting) {
			go func() {
				_, err := s.take(ctx, "greedy", 1)
				waiting <- err
			}()
		}
		synctest.Wait()
		if len(waiting) != 0 {
			t.Errorf("the source got %d more than half", len(waiting))
		}
		release, err := s.take(ctx, "modest", 5)
		if err != nil {
			t.Errorf("the other half is not available: %v", err)
		}
		release()

		cancel()
		synctest.Wait()
		for range cap(waiting) {
			if err := <-waiting; !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want that of the context", err)
			}
		}
		for _, release := range releases {
			release()
		}
		if len(s.sources) != 0 {
			t.Errorf("%d sources remain that hold nothing", len(s.sources))
		}
		if !s.total.TryAcquire(10) {
			t.Error("not everything was released")
		}
	})
}

func TestMoreThanHalfIsNeverThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShares(10)
		ctx, cancel := context.WithTimeout(t.Context(), maxWait)
		defer cancel()
		if _, err := s.take(ctx, "one", 6); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that of the context", err)
		}
		if len(s.sources) != 0 {
			t.Error("the source remains")
		}
	})
}
