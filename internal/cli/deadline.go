package cli

import (
	"fmt"
	"time"
)

// readingLimit bounds the time for reading a PKCS#12 file. The creator of the file chooses the
// number of key derivation iterations, also in encrypted parts, and the library can't be
// interrupted.
const readingLimit = time.Minute

// inTime returns the result of read, or an error after limit. In that case read continues until the
// process ends.
func inTime[T any](limit time.Duration, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := read()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-time.After(limit):
		var none T
		return none, fmt.Errorf("the file isn't read within %s: it requires too many iterations of key derivation; "+
			"create it again with fewer", limit)
	}
}
