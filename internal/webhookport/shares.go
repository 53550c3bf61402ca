package webhookport

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// shares is an amount of which each source can hold at most half. Requests beyond that wait, first
// behind other requests of the same source, so a greedy source doesn't block others.
type shares struct {
	half  int64
	total *semaphore.Weighted

	mu      sync.Mutex
	sources map[string]*share
}

// share is the part of one source. It exists while the source holds or waits for some of it.
type share struct {
	users int
	part  *semaphore.Weighted
}

func newShares(total int64) *shares {
	return &shares{half: total / 2, total: semaphore.NewWeighted(total), sources: map[string]*share{}}
}

// take waits for amount and returns a function that releases it. It returns the error of ctx. More
// than half is never available.
func (s *shares) take(ctx context.Context, source string, amount int64) (release func(), err error) {
	own := s.enter(source)
	if err := own.part.Acquire(ctx, amount); err != nil {
		s.leave(source)
		return nil, err
	}
	if err := s.total.Acquire(ctx, amount); err != nil {
		own.part.Release(amount)
		s.leave(source)
		return nil, err
	}
	return func() {
		s.total.Release(amount)
		own.part.Release(amount)
		s.leave(source)
	}, nil
}

func (s *shares) enter(source string) *share {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.sources[source]
	if own == nil {
		own = &share{part: semaphore.NewWeighted(s.half)}
		s.sources[source] = own
	}
	own.users++
	return own
}

func (s *shares) leave(source string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.sources[source]
	if own.users--; own.users == 0 {
		delete(s.sources, source)
	}
}
