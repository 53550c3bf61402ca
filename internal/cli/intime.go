package cli

import (
	"fmt"
	"time"
)

// readingLimit bounds the reading of a PKCS#12 file. Whoever makes one chooses how many rounds of
// key derivation its parts ask for, also within what is encrypted, and a library can't be told to
// stop.
const readingLimit = time.Minute

// inTime returns what read returns, or an error after the limit. What read does then ends with the
// process.
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
		return none, fmt.Errorf("the file isn't read within %s: it asks for too many rounds of key derivation; create it again with fewer", limit)
	}
}
