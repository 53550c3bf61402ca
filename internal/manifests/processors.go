package manifests

import (
	"runtime"

	"golang.org/x/sync/errgroup"
)

// onAllProcessors calls do with each number from 0 to below count, as many at once as there are
// processors, and returns when all calls have returned.
func onAllProcessors(count int, do func(n int)) {
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for n := range count {
		group.Go(func() error {
			do(n)
			return nil
		})
	}
	_ = group.Wait() // no function returns an error
}
