package cli

import (
	"errors"
	"testing"
	"time"
)

func TestWhatIsNotReadInTimeIsGivenUp(t *testing.T) {
	never := make(chan struct{})
	defer close(never)
	_, err := inTime(time.Millisecond, func() (int, error) { <-never; return 0, nil })
	if want := "the file isn't read within 1ms: it requires too many iterations of key derivation; " +
		"create it again with fewer"; err == nil ||
		err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	broken := errors.New("broken")
	if value, err := inTime(time.Hour, func() (int, error) { return 7, broken }); value != 7 ||
		!errors.Is(err, broken) {
		t.Errorf("%d, %v", value, err)
	}
}
