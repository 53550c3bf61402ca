package cli

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr"
)

func TestProgramPagesAreReleasedAgainAndAgainUntilTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	released := make(chan struct{})
	pages := &programPages{first: time.Millisecond, every: time.Millisecond, log: logr.Discard(), release: func() error { released <- struct{}{}; return nil }}
	ended := make(chan error, 1)
	go func() { ended <- pages.Start(ctx) }()
	<-released
	<-released
	cancel()
	for {
		select {
		case <-released: // one that had begun
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
			return
		}
	}
}

func TestAReplicaRunsOnWherePagesCantBeReleased(t *testing.T) {
	pages := &programPages{first: time.Millisecond, every: time.Millisecond, log: logr.Discard(), release: func() error { return errors.New("not here") }}
	if err := pages.Start(t.Context()); err != nil {
		t.Error(err)
	}
}
